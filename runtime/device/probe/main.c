/* clinfer-probe: does with OpenCL drivers what may crash or hang, in a process of its own.
 *
 * `clinfer-probe` lists the devices of the platforms that its environment names, as the parent (probe.c, where it has
 * not seen a set of drivers before) is about to do: it loads the drivers and asks for platforms, devices and names.
 * `clinfer-probe compile PLATFORM DEVICE DRIVER` builds and runs a small kernel on that device, as the parent
 * (compiler.c) is about to do with all of its kernels.
 *
 * The line "end" is the proof that it got through; what the drivers print themselves is for people. It leaves by
 * _exit, since the destructors of drivers are another matter. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PLATFORMS = 64, MAX_DEVICES = 64, ITEMS = 64, GROUP = 4, TEXT_BYTES = 1024 };

/* Local memory, a barrier and a function of the driver's own library: what a compiler needs for real kernels. The
 * number makes it a text that no cache has. */
static const char kernel_text[] =
    "__kernel void trial(__global const float *in, __global float *out, __local float *shared) {\n"
    "    const size_t i = get_local_id(0), n = get_local_size(0);\n"
    "    shared[i] = exp(in[get_global_id(0)]) + %lld.0f + %d.0f;\n"
    "    barrier(CLK_LOCAL_MEM_FENCE);\n"
    "    float sum = 0.0f;\n"
    "    for (size_t k = 0; k < n; k++) sum += shared[k];\n"
    "    out[get_global_id(0)] = sqrt(sum);\n"
    "}\n";

/* ---- listing ---- */

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

/* ---- compiling ---- */

/* `wanted` was trimmed and may have been cut. */
static bool agrees(char *text, const char *wanted) {
    while (*text == ' ') text++;
    return strncmp(text, wanted, strlen(wanted)) == 0;
}

static bool is_device(cl_device_id device, char **wanted) {
    static const cl_device_info questions[] = {CL_DEVICE_NAME, CL_DRIVER_VERSION};
    for (int i = 0; i < 2; i++) {
        char text[TEXT_BYTES] = "";
        clGetDeviceInfo(device, questions[i], sizeof text - 1, text, NULL);
        if (!agrees(text, wanted[1 + i])) return false;
    }
    return true;
}

static cl_device_id find_device(cl_platform_id platform, char **wanted) {
    cl_device_id devices[MAX_DEVICES];
    cl_uint count = 0;
    char text[TEXT_BYTES] = "";
    clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof text - 1, text, NULL);
    if (!agrees(text, wanted[0])) return NULL;
    if (clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, MAX_DEVICES, devices, &count) != CL_SUCCESS) return NULL;
    for (cl_uint i = 0; i < count && i < MAX_DEVICES; i++)
        if (is_device(devices[i], wanted)) return devices[i];
    return NULL;
}

/* What returns an error does so in the parent as well: the first ends the trial, and is no more than printed. */
static cl_int compile_and_run(cl_device_id device) {
    char source[sizeof kernel_text + 64];
    const char *text = source;
    float numbers[ITEMS] = {0};
    const size_t global = ITEMS, local = GROUP;
    cl_int error = CL_SUCCESS;
    snprintf(source, sizeof source, kernel_text, (long long)time(NULL), (int)getpid());
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
    cl_command_queue queue = error ? NULL : clCreateCommandQueue(context, device, 0, &error);
    cl_program program = error ? NULL : clCreateProgramWithSource(context, 1, &text, NULL, &error);
    if (!error) error = clBuildProgram(program, 1, &device, "-cl-std=CL1.2", NULL, NULL);
    cl_kernel kernel = error ? NULL : clCreateKernel(program, "trial", &error);
    cl_mem in = error ? NULL : clCreateBuffer(context, CL_MEM_COPY_HOST_PTR, sizeof numbers, numbers, &error);
    cl_mem out = error ? NULL : clCreateBuffer(context, CL_MEM_READ_WRITE, sizeof numbers, NULL, &error);
    if (!error) error = clSetKernelArg(kernel, 0, sizeof in, &in);
    if (!error) error = clSetKernelArg(kernel, 1, sizeof out, &out);
    if (!error) error = clSetKernelArg(kernel, 2, GROUP * sizeof(float), NULL);
    if (!error) error = clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &global, &local, 0, NULL, NULL);
    if (!error) error = clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof numbers, numbers, 0, NULL, NULL);
    return error;
}

int main(int argc, char **argv) {
    const struct rlimit no_core = {0, 0};
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_device_id device = NULL;
    cl_uint count = 0;
    bool compiles = argc == 5 && strcmp(argv[1], "compile") == 0;
    setrlimit(RLIMIT_CORE, &no_core);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (compiles) dup2(STDOUT_FILENO, STDERR_FILENO); /* what a compiler says before it dies is the best reason */
    if (clGetPlatformIDs(MAX_PLATFORMS, platforms, &count) != CL_SUCCESS) count = 0;
    for (cl_uint i = 0; i < count && i < MAX_PLATFORMS && !device; i++)
        if (compiles)
            device = find_device(platforms[i], argv + 2);
        else
            list_platform(platforms[i]);
    if (device) printf("result %d\n", (int)compile_and_run(device));
    printf("end\n");
    fflush(stdout);
    _exit(0);
}
