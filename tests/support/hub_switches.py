"""The switches of hub_server.py: what a repo's namespace asks to go wrong.

A namespace that begins with "x." is a list of switches, parted by dots; all others behave. A switch is

    [WHERE-]WORD[_ARGUMENT]...

and WHERE one of WHERES or SETS (the table WORDS has what it is if it is left out). The last argument may be "once" or
"Ntimes": only the first N requests that it applies to are touched. What each does:

    status_CODE         an error page of that status              code_NAME       its X-Error-Code
    retry-after_SECONDS its header Retry-After                    ratelimit_SECONDS   its header RateLimit
    retry-date_SECONDS  the same as a date
    message_WORDS       its X-Error-Message, - for spaces
    silent              nothing, ever                             silent-after_N  nothing more after N bytes of the body
    reset               the connection is reset                   reset-after_N   ... after N bytes of the body
    close               the connection is closed                  cut_N           ... after N bytes of the body
    html                a page of a captive portal, with 200      garbage         JSON that is something else
    broken-json         JSON that ends early                      deep            JSON of 100,000 brackets
    not-http            bytes that are no HTTP                    endless         a header without end
    no-etag, weak-etag, odd-etag, dots-etag, no-commit, no-linked, no-linked-size, xet, warning    headers of resolve
    linked-size_N       X-Linked-Size says N                      redirect-length_N   Content-Length of the 302
    redirect_KIND       see redirect_of()                         renamed_CODE, renamed-absolute_CODE, renamed-loop_CODE
    direct              resolve answers large files itself
    range-ignored, range-other, range-416, range-complete, range-short, range-total, range-no-total, range-none
    changing-etag       the CDN's ETag is another one each time
    gzip, chunked, extra_N, flip_N (a bit of the file's Nth byte), slow_MILLISECONDS (a byte each), rate_BYTES (a second,
    all connections together), rate-each_BYTES (each), first-slow (the first range of all is dripped, the others not)
    expired             the first signed address is dead          expires_N       each is good for N requests
    gated_KIND, private, disabled, token (all need it), auth (a registry's own)
    pages_N, pages-relative_N, pages-loop_N, pages-third_N        the tree in pages
    no-refs, no-tree, no-lfs, no-size, wrong-oid, wrong-size      what the tree says
    moving              main is another commit after each time that refs was asked
"""
import threading

SETS = {"api": {"refs", "tree", "revision", "search"}, "body": {"small", "cdn", "plain", "blob"}, "any": None}
WHERES = {"refs", "tree", "revision", "search", "resolve", "small", "cdn", "plain", "manifest", "blob"} | set(SETS)
DEFAULTS = {
    "any": "status code retry-after retry-date ratelimit message not-http endless gated private disabled token auth pages "
           "pages-relative pages-loop pages-third no-refs no-tree no-lfs no-size wrong-oid wrong-size moving xet renamed "
           "renamed-absolute renamed-loop",
    "api": "garbage broken-json deep",
    "resolve": "no-etag weak-etag odd-etag dots-etag no-commit no-linked no-linked-size warning linked-size redirect-length redirect "
               "direct expired expires",
    "cdn": "silent reset close",
    "body": "html silent-after reset-after cut gzip chunked extra flip slow rate rate-each first-slow range-ignored "
            "range-other range-416 range-complete range-short range-total range-no-total range-none changing-etag"}
WORDS = {word: where for where, words in DEFAULTS.items() for word in words.split()}


class Switch:
    def __init__(self, text):
        head, *self.arguments = text.split("_")
        where, _, word = head.partition("-")
        self.text, self.word, self.where = text, head, WORDS.get(head)
        if not self.where:
            if where not in WHERES or word not in WORDS:
                raise ValueError(f"there is no switch {text!r}")
            self.word, self.where = word, where
        self.times = None
        if self.arguments and self.arguments[-1] == "once":
            self.times = 1
        elif self.arguments and self.arguments[-1].endswith("times"):
            self.times = int(self.arguments[-1][:-5])
        if self.times is not None:
            self.arguments.pop()

    def applies(self, where):
        places = SETS.get(self.where, {self.where})
        return places is None or where in places

    def number(self, default=0):
        return int(self.arguments[0]) if self.arguments else default


class Switches:
    """Those of one request. What is only for the first requests is counted by repo and switch, when it is asked for."""

    counts, lock = {}, threading.Lock()

    def __init__(self, namespace, name, where):
        self.repo, self.where = f"{namespace}/{name}", where
        texts = namespace[2:].split(".") if namespace.startswith("x.") else []
        self.all = [Switch(text) for text in texts]

    def get(self, word):
        """The switch, when it is on for this request (and the next one of its times)."""
        for switch in self.all:
            if switch.word == word and switch.applies(self.where) and self.take(switch):
                return switch
        return None

    def take(self, switch):
        if switch.times is None:
            return True
        with self.lock:
            key = self.repo, switch.text
            self.counts[key] = self.counts.get(key, 0) + 1
            return self.counts[key] <= switch.times

    @classmethod
    def forget(cls):
        with cls.lock:
            cls.counts.clear()
