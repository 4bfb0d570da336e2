/* Interposed before libc (LD_PRELOAD): lets writes and syncs of one store fail, and writes down what reaches its files.

   FAULTS_PREFIX  path of the store: only files whose name begins with it are concerned (its folder too, for syncs)
   FAULTS_KIND    "sync" (EIO), "write" (EIO), "full" (ENOSPC), "short" (half of it is written, then ENOSPC)
   FAULTS_AT      the number of the first call of that kind that fails (from 1); FAULTS_TIMES: how many fail
   FAULTS_LOG     a file to which every write, truncation, sync and deletion is appended, with marks by faults_mark

   A record of the log: one letter (W, T, S, U, M), length of the name, name, offset, length of the data, data. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

typedef ssize_t (*pwrite_call)(int, const void *, size_t, off64_t);
typedef ssize_t (*write_call)(int, const void *, size_t);
typedef int (*sync_call)(int);
typedef int (*truncate_call)(int, off64_t);
typedef int (*unlink_call)(const char *);

static const char *prefix, *kind;
static long at, times, calls;
static int log_file = -1, cut_short;
static pwrite_call real_pwrite;
static write_call real_write;
static sync_call real_fsync, real_fdatasync;
static truncate_call real_ftruncate;
static unlink_call real_unlink;

__attribute__((constructor)) static void start(void) {
    real_pwrite = (pwrite_call)dlsym(RTLD_NEXT, "pwrite64");
    real_write = (write_call)dlsym(RTLD_NEXT, "write");
    real_fsync = (sync_call)dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (sync_call)dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = (truncate_call)dlsym(RTLD_NEXT, "ftruncate64");
    real_unlink = (unlink_call)dlsym(RTLD_NEXT, "unlink");
    prefix = getenv("FAULTS_PREFIX");
    kind = getenv("FAULTS_KIND");
    at = getenv("FAULTS_AT") ? atol(getenv("FAULTS_AT")) : 0;
    times = getenv("FAULTS_TIMES") ? atol(getenv("FAULTS_TIMES")) : 1;
    if (getenv("FAULTS_LOG")) log_file = open(getenv("FAULTS_LOG"), O_CREAT | O_WRONLY | O_APPEND, 0600);
}

static int ours(const char *name) {
    return prefix && !strncmp(name, prefix, strlen(prefix));
}

/* The name of an open file, or NULL if it is none of the store. A folder counts if the store lies in it. */
static const char *name_of(int fd, char *name, size_t size, int folders) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, size - 1);
    if (length < 0) return NULL;
    name[length] = 0;
    if (ours(name)) return name;
    return folders && prefix && !strncmp(prefix, name, length) && prefix[length] == '/' ? name : NULL;
}

static void note(char what, const char *name, uint64_t offset, const void *data, uint32_t length) {
    if (log_file < 0) return;
    uint16_t chars = strlen(name);
    size_t size = 1 + 2 + chars + 8 + 4 + length;
    char *record = malloc(size), *end = record;
    *end++ = what;
    memcpy(end, &chars, 2), end += 2;
    memcpy(end, name, chars), end += chars;
    memcpy(end, &offset, 8), end += 8;
    memcpy(end, &length, 4), end += 4;
    if (length) memcpy(end, data, length);
    if (real_write(log_file, record, size) != (ssize_t)size) abort();
    free(record);
}

void faults_mark(const char *text) {
    note('M', "", 0, text, strlen(text));
}

static int fails(const char *which) {
    if (!kind || at <= 0 || strcmp(kind, which)) return 0;
    calls++;
    return calls >= at && calls < at + times;
}

static ssize_t write_at(int fd, const void *data, size_t size, off64_t offset, int positioned) {
    char name[4096];
    if (fd == log_file || !name_of(fd, name, sizeof name, 0))
        return positioned ? real_pwrite(fd, data, size, offset) : real_write(fd, data, size);
    if (fails("write")) return errno = EIO, -1;
    if (fails("full")) return errno = ENOSPC, -1;
    if (cut_short) return cut_short = 0, errno = ENOSPC, -1;
    if (size > 1 && fails("short")) size /= 2, cut_short = 1;
    off64_t place = positioned ? offset : lseek64(fd, 0, SEEK_CUR);
    ssize_t done = positioned ? real_pwrite(fd, data, size, offset) : real_write(fd, data, size);
    if (done > 0) note('W', name, place, data, done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) { return write_at(fd, data, size, offset, 1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return write_at(fd, data, size, offset, 1); }
ssize_t write(int fd, const void *data, size_t size) { return write_at(fd, data, size, 0, 0); }

static int sync_one(int fd, sync_call real) {
    char name[4096];
    if (!name_of(fd, name, sizeof name, 1)) return real(fd);
    if (fails("sync")) return errno = EIO, -1;
    int done = real(fd);
    if (!done) note('S', name, 0, NULL, 0);
    return done;
}

int fsync(int fd) { return sync_one(fd, real_fsync); }
int fdatasync(int fd) { return sync_one(fd, real_fdatasync); }

static int truncate_one(int fd, off64_t size) {
    char name[4096];
    int known = name_of(fd, name, sizeof name, 0) != NULL;
    int done = real_ftruncate(fd, size);
    if (!done && known) note('T', name, size, NULL, 0);
    return done;
}

int ftruncate64(int fd, off64_t size) { return truncate_one(fd, size); }
int ftruncate(int fd, off_t size) { return truncate_one(fd, size); }

int unlink(const char *name) {
    int done = real_unlink(name);
    if (!done && ours(name)) note('U', name, 0, NULL, 0);
    return done;
}
