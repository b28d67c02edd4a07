#!/usr/bin/env python3
"""Draws a part of a trace (`clinfer run --trace FILE`) as an SVG, for documents; to look around in one, ui.perfetto.dev
is the better place.

usage: trace_picture.py TRACE.json OUT.svg [--from MS] [--to MS]

Without a window: the end of the first piece of prompt and the first two tokens."""
import argparse
import html
import json
import sys

WIDTH, LEFT, ROW, GAP, TOP = 1200, 190, 22, 8, 34
COLORS = {"matmul": "#4e79a7", "matmul_add": "#76a5d4", "attention": "#e15759", "attention_quantise": "#e15759",
          "rmsnorm_quantise": "#59a14f", "glu_quantise": "#edc948", "rope_kv_append": "#b07aa1", "sample": "#9c755f",
          "wait": "#d9d9d9", "enqueue": "#f28e2b", "plan": "#ff9da7", "schedule": "#bab0ac", "text": "#86bcb6",
          "crossing": "#d37295", "prefill": "#a0cbe8", "decode": "#cfe3f4", "request": "#eeeeee"}
OTHER = "#c7c7c7"


def load(path):
    with open(path, encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    rows, open_pairs = {}, {}
    for event in events:
        if event["ph"] == "X":
            rows.setdefault(names.get(event["tid"], str(event["tid"])), []).append(
                (event["ts"] / 1000, (event["ts"] + event["dur"]) / 1000, event["name"]))
        elif event["ph"] == "b":
            open_pairs[event["cat"], event["name"], event["id"]] = event["ts"] / 1000
        elif event["ph"] == "e":
            start = open_pairs.pop((event["cat"], event["name"], event["id"]))
            rows.setdefault(event["name"] if event["cat"] == "request" else
                            f"{event['name']} ({'even' if event['id'] % 2 == 0 else 'odd'} steps)", []).append(
                (start, event["ts"] / 1000, event["name"]))
    order = ["request", "steps", "host"]
    return dict(sorted(rows.items(), key=lambda row: (order.index(row[0]) if row[0] in order else 9, row[0])))


def window(rows):
    steps = sorted(rows.get("steps", []))
    if not steps:
        sys.exit("trace_picture: this trace has no steps")
    prefill = [step for step in steps if step[2] == "prefill"]
    decode = [step for step in steps if step[2] == "decode"]
    end = decode[min(1, len(decode) - 1)][1] if decode else steps[-1][1]
    begin = (prefill[-1][1] if prefill and decode else steps[0][0])
    return begin - 0.15 * (end - begin), end + 0.05 * (end - begin)


def draw(rows, begin, end):
    scale = (WIDTH - LEFT - 10) / (end - begin)
    height = TOP + len(rows) * (ROW + GAP) + 12
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
           f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>']
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1e9) if (end - begin) / s <= 12)
    tick = int(begin / step) * step
    while tick <= end:
        if tick >= begin:
            x = LEFT + (tick - begin) * scale
            out.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 8}" stroke="#eee"/>'
                       f'<text x="{x:.1f}" y="{TOP - 14}" text-anchor="middle" fill="#555">{tick:g} ms</text>')
        tick += step
    y = TOP
    for name, spans in rows.items():
        out.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{html.escape(name[:30])}</text>')
        for first, last, what in spans:
            first, last = max(first, begin), min(last, end)
            if last <= first:
                continue
            x, width = LEFT + (first - begin) * scale, max((last - first) * scale, 0.4)
            color = COLORS.get(what, "#f6f6f6" if what.startswith("queue") else OTHER)
            out.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW}" fill="{color}">'
                       f'<title>{html.escape(what)}: {1000 * (last - first):.1f} us</title></rect>')
            if width > 7 * len(what):
                out.append(f'<text x="{x + 3:.1f}" y="{y + 15}">{html.escape(what)}</text>')
        y += ROW + GAP
    return "\n".join(out + ["</svg>\n"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trace")
    parser.add_argument("out")
    parser.add_argument("--from", dest="begin", type=float)
    parser.add_argument("--to", dest="end", type=float)
    args = parser.parse_args()
    rows = load(args.trace)
    begin, end = window(rows)
    begin, end = args.begin if args.begin is not None else begin, args.end if args.end is not None else end
    if end <= begin:
        sys.exit("trace_picture: the window is empty")
    with open(args.out, "w", encoding="utf-8") as file:
        file.write(draw(rows, begin, end))


if __name__ == "__main__":
    main()
