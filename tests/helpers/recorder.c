/* Logs every system call that changes a file below $WATCH_UNDER to $RECORD_TO, data included.
   Preloaded (LD_PRELOAD) into the process whose crash points are tested; see recording.py for the reader.
   One record: op, fd, offset, length of path, length of data (5 x int64), then path and data.
   Paths relative to an open folder, as of shutil.rmtree, are made absolute. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"

enum { OPEN = 1, WRITE, TRUNCATE, ALLOCATE, RENAME, UNLINK, FSYNC, CLOSE, EXCHANGE, MKDIR, RMDIR, LINK, MARK };

#define MANY 4096
static char watched[MANY];
static char *folder_of[MANY]; /* path of an open folder */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
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
    pthread_mutex_lock(&log_lock);
    put(head, sizeof head);
    if (path) put(path, strlen(path));
    if (size) put(data, size);
    pthread_mutex_unlock(&log_lock);
}

/* Note in the log that the program has come to something: what was promised before it must be kept after it. */
void mark(int number) { record(MARK, -1, number, 0, 0, 0); }

/* The path from the root of what lies in an open folder. */
static const char *whole(int folder, const char *path, char *place) {
    if (!path || path[0] == '/' || folder < 0 || folder >= MANY || !folder_of[folder]) return path;
    snprintf(place, PATH_MAX, "%s/%s", folder_of[folder], path);
    return place;
}

static int opened(int fd, const char *path, int flags) {
    if (fd >= 0 && fd < MANY) {
        struct stat state;
        watched[fd] = is_under(path);
        free(folder_of[fd]);
        folder_of[fd] = watched[fd] && !fstat(fd, &state) && S_ISDIR(state.st_mode) ? strdup(path) : 0;
        if (watched[fd]) record(OPEN, fd, flags, path, 0, 0);
    }
    return fd;
}

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
        char place[PATH_MAX]; \
        return opened(real(folder, path, flags, mode), whole(folder, path, place), flags); \
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

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (!is_watched(fd)) return real(fd, parts, count);
    ssize_t done = 0;
    for (int i = 0; i < count; i++) { /* as short writes would be */
        ssize_t size = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (size < 0) return done ? done : size;
        done += size;
        if ((size_t)size < parts[i].iov_len) break;
    }
    return done;
}

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
    char source[PATH_MAX], place[PATH_MAX];
    return renamed(real(folder, from, other, to), whole(folder, from, source), whole(other, to, place));
}

int renameat2(int folder, const char *from, int other, const char *to, unsigned int flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned int);
    char source[PATH_MAX], place[PATH_MAX];
    int failed = real(folder, from, other, to, flags);
    from = whole(folder, from, source);
    to = whole(other, to, place);
    if (!(flags & RENAME_EXCHANGE)) return renamed(failed, from, to);
    if (!failed && is_under(to)) record(EXCHANGE, -1, 0, from, to, strlen(to));
    return failed;
}

static int linked(int failed, const char *from, const char *to) {
    if (!failed && is_under(to)) record(LINK, -1, 0, from, to, strlen(to));
    return failed;
}

int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    return linked(real(from, to), from, to);
}

int linkat(int folder, const char *from, int other, const char *to, int flags) {
    REAL(int, "linkat", int, const char *, int, const char *, int);
    char source[PATH_MAX], place[PATH_MAX];
    return linked(real(folder, from, other, to, flags), whole(folder, from, source), whole(other, to, place));
}

/* What one path does to its folder: a new one, or one name less. */
static int named(int failed, int op, const char *path) {
    if (!failed && is_under(path)) record(op, -1, 0, path, 0, 0);
    return failed;
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return named(real(path, mode), MKDIR, path);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    char place[PATH_MAX];
    return named(real(folder, path, mode), MKDIR, whole(folder, path, place));
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    return named(real(path), RMDIR, path);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    return named(real(path), UNLINK, path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    char place[PATH_MAX];
    int op = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    return named(real(folder, path, flags), op, whole(folder, path, place));
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
        free(folder_of[fd]);
        folder_of[fd] = 0;
        record(CLOSE, fd, 0, 0, 0, 0);
    }
    return real(fd);
}
