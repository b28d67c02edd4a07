/* keep_loaded.c: under AddressSanitizer, libraries that were loaded at run time stay loaded until the end.
 *
 * The OpenCL loader closes its drivers when the process ends, before leaks are looked for: what a driver kept is then
 * reported as a leak of an unknown module, which no line of tests/asan.supp can name. */
#if defined(__SANITIZE_ADDRESS__)
int dlclose(void *handle);

__attribute__((visibility("default"))) int dlclose(void *handle) {
    (void)handle;
    return 0;
}
#else
typedef int ci_keep_loaded_is_for_sanitizers;
#endif
