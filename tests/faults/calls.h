/* What calls.c stands on: which calls are ours, what happens to them, and the log of what they changed. */
#ifndef CALLS_H
#define CALLS_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { PASS, KILL_BEFORE, KILL_AFTER, TEAR, FAIL, LOSE };
enum { REMEMBERED = 64 };

/* calls.py has the same in Python. */
static struct control {
    int64_t pid, mode, at, error, sticky, logging; /* what is wanted */
    int64_t calls, writes, synced_again;           /* what was seen; the last: fsyncs of a file whose fsync had failed */
    int64_t unsynced[REMEMBERED];                  /* inodes of those files */
} *control;

static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("FAULTS_ROOT"), *shared = getenv("FAULTS_CONTROL"), *log = getenv("FAULTS_LOG");
    if (!folder || !shared || !log || !realpath(folder, root)) return;
    root_length = strlen(root);
    log_fd = REAL(open)(log, O_WRONLY | O_APPEND | O_CLOEXEC);
    int fd = REAL(open)(shared, O_RDWR | O_CLOEXEC);
    void *block = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (block != MAP_FAILED) control = block;
}

/* Which calls are ours */

static int watched(void) {
    return control && control->pid == getpid();
}

static int below(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int fd_path(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return length > 0;
}

static int fd_below(int fd) {
    char path[PATH_MAX];
    return control && fd > 2 && fd_path(fd, path) && below(path);
}

static int our_fd(int fd) {
    return watched() && fd_below(fd);
}

static int our_path(int folder, const char *path) {
    char base[PATH_MAX];
    if (!watched() || !path) return 0;
    if (path[0] == '/') return below(path);
    return (folder == AT_FDCWD ? getcwd(base, sizeof base) != NULL : fd_path(folder, base)) && below(base);
}

/* What happens to them */

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int step(int is_write) {
    int64_t call = __atomic_add_fetch(&control->calls, 1, __ATOMIC_SEQ_CST);
    int64_t write = is_write ? __atomic_add_fetch(&control->writes, 1, __ATOMIC_SEQ_CST) : 0;
    int64_t n = control->mode == TEAR ? write : call;
    if (!n || !control->at || n < control->at || (n > control->at && !control->sticky)) return PASS;
    if (control->mode == KILL_BEFORE) die();
    return (int)control->mode;
}

static int refuse(void) {
    errno = (int)control->error;
    return -1;
}

static int enter(int is_write) {
    if (control->logging) pthread_mutex_lock(&turn); /* so that the log has the order in which things happened */
    return step(is_write);
}

static void leave(int fault) {
    if (fault == KILL_AFTER || fault == TEAR) die();
    if (control->logging) pthread_mutex_unlock(&turn);
}

/* The log: what changed, by inode, so that it does not matter what a file was called at the time */

struct record {
    int64_t kind, node, folder, other, offset, name_length, other_length, size;
};

static int64_t node_of(int fd) {
    struct stat s;
    return fstat(fd, &s) ? 0 : (int64_t)s.st_ino;
}

static int64_t node_at(int folder, const char *path) {
    struct stat s;
    return fstatat(folder, path, &s, AT_SYMLINK_NOFOLLOW) ? 0 : (int64_t)s.st_ino;
}

static const char *name_in(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int64_t folder_of(int folder, const char *path) {
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%.*s", (int)(name_in(path) - path), path);
    return node_at(folder, *parent ? parent : ".");
}

static void say(struct record r, const char *name, const char *other, const void *data) {
    if (!control->logging) return;
    r.name_length = (int64_t)strlen(name), r.other_length = (int64_t)strlen(other);
    struct iovec parts[] = {{&r, sizeof r}, {(void *)name, strlen(name)}, {(void *)other, strlen(other)},
                            {(void *)data, (size_t)r.size}};
    int kept = errno;
    if (REAL(writev)(log_fd, parts, 4) < 0) abort();
    errno = kept;
}

static void say_name(int kind, int64_t node, int folder, const char *path) {
    if (!control->logging) return;
    say((struct record){.kind = kind, .node = node, .folder = folder_of(folder, path)}, name_in(path), "", NULL);
}

static void say_node(int kind, int fd, int64_t offset, const void *data, ssize_t size) {
    if (!control->logging) return;
    say((struct record){.kind = kind, .node = node_of(fd), .offset = offset, .size = size}, "", "", data);
}

/* For the program itself: something that it said at this point. */
void faults_mark(const char *text) {
    if (watched()) say((struct record){.kind = 'm'}, text, "", NULL);
}

#endif
