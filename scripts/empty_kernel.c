/* The least an OpenCL program can do: build an empty kernel on a device, run it once. What this process needs of memory
 * is what the driver takes; scripts/measure_start.sh sets clinfer's own need against it.
 * usage: empty_kernel INDEX     counts devices over all platforms; prints the name and the peak memory in KiB */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cl_device_id find_device(unsigned index) {
    cl_platform_id platforms[16];
    cl_uint count = 0;
    if (clGetPlatformIDs(16, platforms, &count) != CL_SUCCESS) return NULL;
    for (cl_uint i = 0; i < count && i < 16; i++) {
        cl_device_id devices[16];
        cl_uint found = 0;
        if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 16, devices, &found) != CL_SUCCESS) continue;
        if (index < found) return devices[index];
        index -= found;
    }
    return NULL;
}

static long peak_kib(void) {
    char line[256];
    long peak = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, "VmHWM:", 6) == 0) peak = strtol(line + 6, NULL, 10);
    if (status) fclose(status);
    return peak;
}

int main(int count, char **arguments) {
    static const char *const source = "__kernel void empty(__global int *out) { out[get_global_id(0)] = 1; }";
    cl_device_id device = find_device(count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 0);
    if (!device) {
        fputs("empty_kernel: no such OpenCL device\n", stderr);
        return 1;
    }
    cl_int error;
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
    cl_command_queue queue = context ? clCreateCommandQueue(context, device, 0, &error) : NULL;
    cl_program program = context ? clCreateProgramWithSource(context, 1, (const char **)&source, NULL, &error) : NULL;
    if (!queue || !program || clBuildProgram(program, 1, &device, "", NULL, NULL) != CL_SUCCESS) return 1;
    cl_kernel kernel = clCreateKernel(program, "empty", &error);
    cl_mem memory = clCreateBuffer(context, CL_MEM_READ_WRITE, 64 * sizeof(int), NULL, &error);
    size_t items = 64;
    if (!kernel || !memory || clSetKernelArg(kernel, 0, sizeof memory, &memory) != CL_SUCCESS ||
        clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &items, NULL, 0, NULL, NULL) != CL_SUCCESS ||
        clFinish(queue) != CL_SUCCESS)
        return 1;
    char name[128] = "";
    clGetDeviceInfo(device, CL_DEVICE_NAME, sizeof name, name, NULL);
    printf("%ld %s\n", peak_kib(), name);
    return 0;
}
