/* clinfer-probe: lists the OpenCL devices of the platforms that its environment names, and may crash or hang in that.
 *
 * runtime/device/probe.c starts it where it has not seen a set of drivers before. It does what the parent is about to
 * do: loads them, asks for platforms, devices and their names. The line "end" is the proof that it got through; what
 * the drivers print themselves does not matter. It leaves by _exit, since the destructors of drivers are another
 * matter. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MAX_PLATFORMS = 64, MAX_DEVICES = 64 };

static void list_platform(cl_platform_id platform) {
    cl_device_id devices[MAX_DEVICES];
    char name[256] = "";
    cl_uint count = 0;
    clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof name - 1, name, NULL);
    printf("platform %s\n", name);
    if (clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, MAX_DEVICES, devices, &count) != CL_SUCCESS) return;
    for (cl_uint i = 0; i < count && i < MAX_DEVICES; i++) {
        name[0] = '\0';
        clGetDeviceInfo(devices[i], CL_DEVICE_NAME, sizeof name - 1, name, NULL);
        printf("device %s\n", name);
    }
}

int main(void) {
    const struct rlimit no_core = {0, 0};
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint count = 0;
    setrlimit(RLIMIT_CORE, &no_core);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (clGetPlatformIDs(MAX_PLATFORMS, platforms, &count) != CL_SUCCESS) count = 0;
    for (cl_uint i = 0; i < count && i < MAX_PLATFORMS; i++) list_platform(platforms[i]);
    printf("end\n");
    fflush(stdout);
    _exit(0);
}
