/* Logs every system call that changes a file below $WATCH_UNDER to $RECORD_TO, data included.
   Preloaded (LD_PRELOAD) into the process whose crash points are tested; see recording.py for the reader.
   One record: op, fd, offset, length of path, length of data (5 x int64), then path and data. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, TRUNCATE, ALLOCATE, RENAME, UNLINK, FSYNC, CLOSE };

#define MANY 4096
static char watched[MANY];
static int log_fd = -1;
static const char *under;

__attribute__((constructor)) static void start(void) {
    under = getenv("WATCH_UNDER");
    const char *to = getenv("RECORD_TO");
    if (under && to)
        log_fd = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int is_under(const char *path) {
    return under && path && !strncmp(path, under, strlen(under));
}

static int is_watched(int fd) { return fd >= 0 && fd < MANY && watched[fd]; }

static void put(const void *bytes, size_t length) {
    while (length) {
        ssize_t done = syscall(SYS_write, log_fd, bytes, length);
        if (done <= 0) abort();
        bytes = (const char *)bytes + done;
        length -= done;
    }
}

static void record(int64_t op, int64_t fd, int64_t offset, const char *path, const void *data, int64_t size) {
    if (log_fd < 0) return;
    int64_t head[5] = {op, fd, offset, path ? (int64_t)strlen(path) : 0, size};
    put(head, sizeof head);
    if (path) put(path, strlen(path));
    if (size) put(data, size);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int opened(int fd, const char *path, int flags) {
    if (fd >= 0 && fd < MANY) {
        watched[fd] = is_under(path);
        if (watched[fd]) record(OPEN, fd, flags, path, 0, 0);
    }
    return fd;
}

#define MODE(flags) \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = (flags) & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest)

#define OPENER(name) \
    int name(const char *path, int flags, ...) { \
        MODE(flags); \
        REAL(int, #name, const char *, int, ...); \
        return opened(real(path, flags, mode), path, flags); \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        MODE(flags); \
        REAL(int, #name, int, const char *, int, ...); \
        return opened(real(folder, path, flags, mode), path, flags); \
    }
OPENER_AT(openat)
OPENER_AT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    off_t offset = is_watched(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = real(fd, data, size);
    if (is_watched(fd) && done > 0) record(WRITE, fd, offset, 0, data, done);
    return done;
}

#define WRITER_AT(name) \
    ssize_t name(int fd, const void *data, size_t size, off_t offset) { \
        REAL(ssize_t, #name, int, const void *, size_t, off_t); \
        ssize_t done = real(fd, data, size, offset); \
        if (is_watched(fd) && done > 0) record(WRITE, fd, offset, 0, data, done); \
        return done; \
    }
WRITER_AT(pwrite)
WRITER_AT(pwrite64)

#define TRUNCATER(name) \
    int name(int fd, off_t size) { \
        REAL(int, #name, int, off_t); \
        int failed = real(fd, size); \
        if (is_watched(fd) && !failed) record(TRUNCATE, fd, size, 0, 0, 0); \
        return failed; \
    }
TRUNCATER(ftruncate)
TRUNCATER(ftruncate64)

#define ALLOCATER(name) \
    int name(int fd, off_t offset, off_t size) { \
        REAL(int, #name, int, off_t, off_t); \
        int failed = real(fd, offset, size); \
        if (is_watched(fd) && !failed) record(ALLOCATE, fd, offset + size, 0, 0, 0); \
        return failed; \
    }
ALLOCATER(posix_fallocate)
ALLOCATER(posix_fallocate64)

static int renamed(int failed, const char *from, const char *to) {
    if (!failed && is_under(to)) record(RENAME, -1, 0, from, to, strlen(to));
    return failed;
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    return renamed(real(from, to), from, to);
}

int renameat(int folder, const char *from, int other, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    return renamed(real(folder, from, other, to), from, to);
}

static int unlinked(int failed, const char *path) {
    if (!failed && is_under(path)) record(UNLINK, -1, 0, path, 0, 0);
    return failed;
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    return unlinked(real(path), path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    return unlinked(real(folder, path, flags), path);
}

#define SYNCER(name) \
    int name(int fd) { \
        REAL(int, #name, int); \
        int failed = real(fd); \
        if (is_watched(fd) && !failed) record(FSYNC, fd, 0, 0, 0, 0); \
        return failed; \
    }
SYNCER(fsync)
SYNCER(fdatasync)

int close(int fd) {
    REAL(int, "close", int);
    if (is_watched(fd)) {
        watched[fd] = 0;
        record(CLOSE, fd, 0, 0, 0, 0);
    }
    return real(fd);
}
