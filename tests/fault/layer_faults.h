/* layer_faults.h: which calls fake_layer.c can break, and the words for what is to happen to them.
 *
 * A list of faults is FAULT;FAULT;..., and a fault is CALL@WHEN:WHAT.
 *
 *   CALL  clFinish             this entry point
 *         clCreateKernel/add   ... for this kernel: also clSetKernelArg, clEnqueueNDRangeKernel, clGetKernel*
 *         *                    any entry point but the releases
 *   WHEN  3                    the third such call since the fault was armed
 *         3+                   the third and all after it
 *         p0.01/7              one in a hundred, by the random numbers of seed 7
 *   WHAT  -5                   is not done and returns this error; a release is done and returns it
 *         lost                 the same with CL_OUT_OF_RESOURCES, and so does every call from then on: device lost
 *         lost/-36             ... with this error
 *         delay/200            takes 200 ms longer
 *         hang                 does not return, until other faults are armed; then it returns CL_OUT_OF_RESOURCES
 *         corrupt              clEnqueueReadBuffer: what was read is overwritten with NaN, and waited for;
 *                              clEnqueueNDRangeKernel: every word of its arguments that the kernel changed becomes NaN
 *         skip                 clEnqueueNDRangeKernel: succeeds and computes nothing
 *         eat, kill            takes memory without end, as some compilers do (it ends at 4 GB, where nobody watches);
 *                              is killed, as the system does then */
#ifndef TESTS_FAULT_LAYER_FAULTS_H
#define TESTS_FAULT_LAYER_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

/* Releases come last: what is counted and may break as "*" ends before them. */
#define LAYER_CALLS(X)                                                                                                 \
    X(clGetPlatformIDs)                                                                                                \
    X(clGetPlatformInfo)                                                                                               \
    X(clGetDeviceIDs)                                                                                                  \
    X(clGetDeviceInfo)                                                                                                 \
    X(clCreateContext)                                                                                                 \
    X(clCreateCommandQueue)                                                                                            \
    X(clGetCommandQueueInfo)                                                                                           \
    X(clCreateBuffer)                                                                                                  \
    X(clGetMemObjectInfo)                                                                                              \
    X(clCreateProgramWithSource)                                                                                       \
    X(clCreateProgramWithBinary)                                                                                       \
    X(clBuildProgram)                                                                                                  \
    X(clCompileProgram)                                                                                                \
    X(clLinkProgram)                                                                                                   \
    X(clGetProgramInfo)                                                                                                \
    X(clGetProgramBuildInfo)                                                                                           \
    X(clCreateKernel)                                                                                                  \
    X(clGetKernelInfo)                                                                                                 \
    X(clGetKernelWorkGroupInfo)                                                                                        \
    X(clSetKernelArg)                                                                                                  \
    X(clEnqueueNDRangeKernel)                                                                                          \
    X(clEnqueueReadBuffer)                                                                                             \
    X(clEnqueueWriteBuffer)                                                                                            \
    X(clEnqueueCopyBuffer)                                                                                             \
    X(clEnqueueFillBuffer)                                                                                             \
    X(clWaitForEvents)                                                                                                 \
    X(clGetEventInfo)                                                                                                  \
    X(clGetEventProfilingInfo)                                                                                         \
    X(clFlush)                                                                                                         \
    X(clFinish)                                                                                                        \
    X(clReleaseContext)                                                                                                \
    X(clReleaseCommandQueue)                                                                                           \
    X(clReleaseMemObject)                                                                                              \
    X(clReleaseProgram)                                                                                                \
    X(clReleaseKernel)                                                                                                 \
    X(clReleaseEvent)

#define LAYER_ENUM(name) CALL_##name,
enum call { LAYER_CALLS(LAYER_ENUM) CALL_COUNT, CALL_ANY, FIRST_RELEASE = CALL_clReleaseContext };

enum action { FAIL, LOSE, DELAY, HANG, CORRUPT, SKIP, EAT, KILL };

struct fault {
    int call;           /* an enum call, also CALL_ANY */
    char kernel[64];    /* "": any */
    long first, last;   /* of such calls, from 1 */
    double probability; /* 0: by number */
    uint64_t random;
    enum action action;
    int value; /* error, or milliseconds */
    long seen;
};

enum { MOST_FAULTS = 16 };

extern const char *const fault_call_names[CALL_COUNT];

/* An entry point, CALL_ANY for "*"; -1: none of these. */
int fault_call_of(const char *name);

/* The list's length; -1: it is none. */
int fault_parse_list(const char *text, struct fault faults[MOST_FAULTS]);

/* One more call that it is for: whether that one breaks. */
bool fault_strikes(struct fault *fault);

#endif
