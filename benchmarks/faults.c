/* A preload library that lets one call on a file fail: the n-th write, fsync, rename or open under a folder gets an error, or the
   process is killed in its place. Armed by `fault_arm` from the process itself; counts in `fault_count`. One thread at a time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, FSYNC = 2, RENAME = 4, OPEN = 8 };

static char root[4096];
static long at = -1, count;
static int error_number, kinds;

void fault_arm(const char *folder, long number, int error, int which) {
    strncpy(root, folder, sizeof root - 1);
    at = number, error_number = error, kinds = which, count = 0;
}

long fault_count(void) { return count; }

static int fails(int kind, const char *path) {
    if (!root[0] || !(kinds & kind) || strncmp(path, root, strlen(root)) != 0) return 0;
    if (count++ != at) return 0;
    if (error_number < 0) kill(getpid(), SIGKILL);
    errno = error_number;
    return 1;
}

static int fails_on(int kind, int fd) {
    char link[64], path[4096];
    if (!root[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(kind, path);
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return fails_on(WRITE, fd) ? -1 : real(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return fails_on(WRITE, fd) ? -1 : real(fd, data, size, place);
}

ssize_t writev(int fd, const struct iovec *parts, int number) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return fails_on(WRITE, fd) ? -1 : real(fd, parts, number);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return fails_on(FSYNC, fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return fails_on(FSYNC, fd) ? -1 : real(fd);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return fails(RENAME, to) ? -1 : real(from, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    return fails(RENAME, to) ? -1 : real(a, from, b, to, flags);
}

#define OPENS(name)                                                     \
    int name(const char *path, int flags, ...) {                        \
        REAL(int, #name, const char *, int, ...);                       \
        va_list more;                                                   \
        va_start(more, flags);                                          \
        mode_t mode = va_arg(more, mode_t);                             \
        va_end(more);                                                   \
        return fails(OPEN, path) ? -1 : real(path, flags, mode);        \
    }

OPENS(open)
OPENS(open64)

#define OPENATS(name)                                                   \
    int name(int folder, const char *path, int flags, ...) {            \
        REAL(int, #name, int, const char *, int, ...);                  \
        va_list more;                                                   \
        va_start(more, flags);                                          \
        mode_t mode = va_arg(more, mode_t);                             \
        va_end(more);                                                   \
        return fails(OPEN, path) ? -1 : real(folder, path, flags, mode); \
    }

OPENATS(openat)
OPENATS(openat64)
