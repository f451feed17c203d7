/* Lets one call of a program that changes files fail: the one whose number is in FAULT_AT, counted
 * from 1, among those below the folder FAULT_UNDER. FAULT_KIND says how: `once` with EIO, or `full`
 * as a full disk, from there on whatever needs room, with ENOSPC. FAULT_COUNT names a file that is
 * told the number of calls at the end. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

static int below(const char *path) {
    const char *under = getenv("FAULT_UNDER");
    return under && path && strncmp(path, under, strlen(under)) == 0;
}

static int below_at(int dir, const char *path) {
    char whole[PATH_MAX * 2], link[64], folder[PATH_MAX];
    if (!path) return 0;
    if (path[0] == '/') return below(path);
    if (dir == AT_FDCWD) {
        if (!getcwd(folder, sizeof folder)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        ssize_t n = readlink(link, folder, sizeof folder - 1);
        if (n < 0) return 0;
        folder[n] = 0;
    }
    snprintf(whole, sizeof whole, "%s/%s", folder, path);
    return below(whole);
}

static int below_fd(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return below(path);
}

/* Whether this call is to fail; `grows`: it needs room on the disk. */
static int fails(int grows) {
    const char *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND");
    long n = atomic_fetch_add(&calls, 1) + 1, wanted = at ? atol(at) : 0;
    if (wanted <= 0) return 0;
    if (kind && strcmp(kind, "full") == 0) {
        if (n < wanted || !grows) return 0;
        errno = ENOSPC;
        return 1;
    }
    if (n != wanted) return 0;
    errno = EIO;
    return 1;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int grows_file(int fd, size_t n) {
    struct stat about;
    off_t at = lseek(fd, 0, SEEK_CUR);
    return at < 0 || fstat(fd, &about) < 0 || at + (off_t)n > about.st_size;
}

ssize_t write(int fd, const void *bytes, size_t n) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (below_fd(fd) && fails(grows_file(fd, n))) return -1;
    return real(fd, bytes, n);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (below_fd(fd) && fails(1)) return -1;
    return real(fd, parts, n);
}

static int opens(int dir, const char *path, int flags) {
    struct stat about;
    if (!(flags & (O_WRONLY | O_RDWR)) || !below_at(dir, path)) return 0;
    return fails((flags & O_CREAT) && fstatat(dir, path, &about, 0) != 0);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        REAL(int, #name, const char *, int, ...); \
        if (opens(AT_FDCWD, path, flags)) return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int dir, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        REAL(int, #name, int, const char *, int, ...); \
        if (opens(dir, path, flags)) return -1; \
        return real(dir, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    struct stat about;
    if (below_at(AT_FDCWD, path) && stat(path, &about) != 0 && fails(1)) return -1;
    return real(path, mode);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (below_at(AT_FDCWD, to) && fails(0)) return -1;
    return real(from, to);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    if (below_fd(fd) && fails(0)) return -1;
    return real(fd);
}

int ftruncate(int fd, off_t n) {
    REAL(int, "ftruncate", int, off_t);
    if (below_fd(fd) && fails(0)) return -1;
    return real(fd, n);
}

int ftruncate64(int fd, off_t n) {
    REAL(int, "ftruncate64", int, off_t);
    if (below_fd(fd) && fails(0)) return -1;
    return real(fd, n);
}

__attribute__((destructor)) static void told(void) {
    const char *place = getenv("FAULT_COUNT");
    FILE *file = place ? fopen(place, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld", atomic_load(&calls));
    fclose(file);
}
