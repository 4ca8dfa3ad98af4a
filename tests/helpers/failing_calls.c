/* Lets chosen system calls that change something below $WATCH_UNDER fail, write only a half, or be the process's last.
   Preloaded (LD_PRELOAD); see failing_calls.py. What was called is counted in memory that forked children share, so
   that their parent learns it even of those that were killed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"

enum { HEALTHY, ERROR, SHORT, KILL, TEAR }; /* TEAR: half a write, then KILL */
#define MANY 65536

static struct {
    int made;         /* calls since `fail_calls` */
    int failed;       /* of those, how many did not do what they were asked */
    char kinds[MANY]; /* 'w' for each that writes, 'n' for one on a name, 'f' for another on an open file */
    char first[PATH_MAX + 32]; /* the first that failed, and its path */
} *shared;
static const char *under;
static int from, forever, how, number;

__attribute__((constructor)) static void start(void) {
    under = getenv("WATCH_UNDER");
    shared = mmap(0, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) abort();
}

/* From now on the `first`-th call fails as said, and with `then` those after it, too. A system that answers EINTR
   answers otherwise in the end: with it, `then` means every other call. */
void fail_calls(int first, int then, int kind, int error) {
    memset(shared, 0, sizeof *shared);
    from = first, forever = then, how = kind, number = error;
}

void stop_failing(void) { how = HEALTHY; }
int calls_made(void) { return shared->made; }
int calls_failed(void) { return shared->failed; }
const char *kinds_of_calls(void) { return shared->kinds; }
const char *first_failed(void) { return shared->first; }

static int watched(const char *path) {
    size_t length = under ? strlen(under) : 0;
    return length && !strncmp(path, under, length) && (path[length] == '/' || !path[length]);
}

static const char *path_of(int fd, char *room) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, room, PATH_MAX - 1);
    room[length < 0 ? 0 : length] = 0;
    return room;
}

static const char *absolute(int folder, const char *path, char *room) {
    if (path[0] == '/') return path;
    char place[PATH_MAX];
    if (folder == AT_FDCWD ? !getcwd(place, sizeof place) : !path_of(folder, place)[0]) return path;
    snprintf(room, 2 * PATH_MAX, "%s/%s", place, path);
    return room;
}

/* What this call, which would change something at a path, has to do. */
static int fate(const char *name, char kind, const char *path) {
    if (!watched(path)) return HEALTHY;
    int mine = __atomic_add_fetch(&shared->made, 1, __ATOMIC_SEQ_CST);
    if (mine < MANY) shared->kinds[mine - 1] = kind;
    int later = forever && mine > from && (number != EINTR || (mine - from) % 2 == 0);
    if (!how || !(mine == from || later) || (how == SHORT && kind != 'w')) return HEALTHY;
    if (!__atomic_fetch_add(&shared->failed, 1, __ATOMIC_SEQ_CST))
        snprintf(shared->first, sizeof shared->first, "%s %.*s", name, PATH_MAX, path);
    if (how == KILL || (how == TEAR && kind != 'w')) kill(getpid(), SIGKILL);
    errno = number;
    return how;
}

static int fate_at(const char *name, int folder, const char *path) {
    char room[2 * PATH_MAX];
    return fate(name, 'n', absolute(folder, path, room));
}

static int fate_of(const char *name, char kind, int fd) {
    char room[PATH_MAX];
    return fate(name, kind, path_of(fd, room));
}

/* Writes: `some(size)` is how much of them is done. */
#define HALF(size) ((size) > 1 ? (size) / 2 : (size))

#define WRITER(name, parameters, types, whole, half) \
    ssize_t name parameters { \
        REAL(ssize_t, #name, types); \
        int what = fate_of(#name, 'w', fd); \
        if (what == ERROR) return -1; \
        if (what == HEALTHY) return real whole; \
        ssize_t done = real half; \
        if (what == TEAR) kill(getpid(), SIGKILL); \
        return done; \
    }
#define COMMA ,
#define WRITE_TYPES int COMMA const void *COMMA size_t
#define VECTOR_TYPES int COMMA const struct iovec *COMMA int
WRITER(write, (int fd, const void *data, size_t size), WRITE_TYPES, (fd, data, size), (fd, data, HALF(size)))
#define WRITER_AT(name) \
    WRITER(name, (int fd, const void *data, size_t size, off_t at), WRITE_TYPES COMMA off_t, \
           (fd, data, size, at), (fd, data, HALF(size), at))
WRITER_AT(pwrite)
WRITER_AT(pwrite64)
WRITER(writev, (int fd, const struct iovec *parts, int count), VECTOR_TYPES, (fd, parts, count),
       (fd, parts, HALF(count)))
#define VECTOR_WRITER_AT(name) \
    WRITER(name, (int fd, const struct iovec *parts, int count, off_t at), VECTOR_TYPES COMMA off_t, \
           (fd, parts, count, at), (fd, parts, HALF(count), at))
VECTOR_WRITER_AT(pwritev)
VECTOR_WRITER_AT(pwritev64)

/* Other calls on open files. */
#define ON_FILE(name, answer, parameters, types, arguments) \
    int name parameters { \
        REAL(int, #name, types); \
        return fate_of(#name, 'f', fd) ? (answer) : real arguments; \
    }
#define SYNCER(name) /* of thousands of small files: nobody will miss them after a power cut */ \
    int name(int fd) { \
        REAL(int, #name, int); \
        char room[PATH_MAX]; \
        return fate_of(#name, 'f', fd) ? -1 : watched(path_of(fd, room)) ? 0 : real(fd); \
    }
SYNCER(fsync)
SYNCER(fdatasync)
ON_FILE(fchmod, -1, (int fd, mode_t mode), int COMMA mode_t, (fd, mode))
ON_FILE(ftruncate, -1, (int fd, off_t size), int COMMA off_t, (fd, size))
ON_FILE(ftruncate64, -1, (int fd, off_t size), int COMMA off_t, (fd, size))
#define RESERVER(name) \
    ON_FILE(name, number, (int fd, off_t at, off_t size), int COMMA off_t COMMA off_t, (fd, at, size))
RESERVER(posix_fallocate)
RESERVER(posix_fallocate64)
#define RESERVER_AS(name) \
    ON_FILE(name, -1, (int fd, int mode, off_t at, off_t size), int COMMA int COMMA off_t COMMA off_t, \
            (fd, mode, at, size))
RESERVER_AS(fallocate)
RESERVER_AS(fallocate64)

/* Calls on names. */
#define ON_NAME(name, folder, path, parameters, types, arguments) \
    int name parameters { \
        REAL(int, #name, types); \
        return fate_at(#name, folder, path) ? -1 : real arguments; \
    }
#define TEXT const char *
ON_NAME(unlink, AT_FDCWD, path, (TEXT path), TEXT, (path))
ON_NAME(rmdir, AT_FDCWD, path, (TEXT path), TEXT, (path))
ON_NAME(unlinkat, at, path, (int at, TEXT path, int flags), int COMMA TEXT COMMA int, (at, path, flags))
ON_NAME(mkdir, AT_FDCWD, path, (TEXT path, mode_t mode), TEXT COMMA mode_t, (path, mode))
ON_NAME(mkdirat, at, path, (int at, TEXT path, mode_t mode), int COMMA TEXT COMMA mode_t, (at, path, mode))
ON_NAME(chmod, AT_FDCWD, path, (TEXT path, mode_t mode), TEXT COMMA mode_t, (path, mode))
ON_NAME(truncate, AT_FDCWD, path, (TEXT path, off_t size), TEXT COMMA off_t, (path, size))
ON_NAME(truncate64, AT_FDCWD, path, (TEXT path, off_t size), TEXT COMMA off_t, (path, size))
ON_NAME(rename, AT_FDCWD, to, (TEXT old, TEXT to), TEXT COMMA TEXT, (old, to))
ON_NAME(link, AT_FDCWD, to, (TEXT old, TEXT to), TEXT COMMA TEXT, (old, to))
ON_NAME(symlink, AT_FDCWD, to, (TEXT old, TEXT to), TEXT COMMA TEXT, (old, to))
ON_NAME(fchmodat, at, path, (int at, TEXT path, mode_t mode, int flags), int COMMA TEXT COMMA mode_t COMMA int,
        (at, path, mode, flags))
ON_NAME(renameat, at, to, (int from_at, TEXT old, int at, TEXT to), int COMMA TEXT COMMA int COMMA TEXT,
        (from_at, old, at, to))
ON_NAME(renameat2, at, to, (int from_at, TEXT old, int at, TEXT to, unsigned flags),
        int COMMA TEXT COMMA int COMMA TEXT COMMA unsigned, (from_at, old, at, to, flags))
ON_NAME(linkat, at, to, (int from_at, TEXT old, int at, TEXT to, int flags),
        int COMMA TEXT COMMA int COMMA TEXT COMMA int, (from_at, old, at, to, flags))
ON_NAME(symlinkat, at, to, (TEXT old, int at, TEXT to), TEXT COMMA int COMMA TEXT, (old, at, to))

/* Opening a file to write into it. */
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
#define OPENER(name) \
    int name(TEXT path, int flags, ...) { \
        MODE(flags); \
        REAL(int, #name, TEXT, int, ...); \
        return WRITES(flags) && fate_at(#name, AT_FDCWD, path) ? -1 : real(path, flags, mode); \
    }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name) \
    int name(int at, TEXT path, int flags, ...) { \
        MODE(flags); \
        REAL(int, #name, int, TEXT, int, ...); \
        return WRITES(flags) && fate_at(#name, at, path) ? -1 : real(at, path, flags, mode); \
    }
OPENER_AT(openat)
OPENER_AT(openat64)
