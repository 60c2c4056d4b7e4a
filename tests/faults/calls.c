/* Stands between a program and libc (LD_PRELOAD) wherever it changes files below the folder FAULTS_ROOT.
 *
 * A control block, mapped from the file FAULTS_CONTROL, says which process is meant and what to do: count its calls,
 * kill it before or after the n-th, tear the n-th write in half and kill it, let the n-th call (or all from there on)
 * fail, let it do its work and fail nevertheless, as where a reply is lost, or write down in FAULTS_LOG what each call
 * changed. Calls may come from any number of threads.
 *
 * What goes past libc's functions is not seen: memory maps that are written to, io_uring, and stdio's own buffers. */
#define _GNU_SOURCE
#include "calls.h"

/* Writes */

static int64_t position(int fd) {
    return fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
}

/* offset: -1 for where the file stands. */
static ssize_t put(int fd, const void *data, size_t size, off64_t offset) {
    int fault = enter(1);
    int64_t start = offset < 0 ? position(fd) : offset;
    if (fault == TEAR) size /= 2;
    ssize_t done = fault == FAIL   ? refuse()
                   : offset < 0    ? REAL(write)(fd, data, size)
                                   : REAL(pwrite64)(fd, data, size, offset);
    if (done > 0) say_node('w', fd, start, data, done);
    if (fault == LOSE) done = refuse();
    leave(fault);
    return done;
}

static ssize_t put_all(int fd, const struct iovec *parts, int count, off64_t offset) {
    size_t size = 0, at = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    char *data = malloc(size ? size : 1);
    for (int i = 0; i < count; at += parts[i++].iov_len) memcpy(data + at, parts[i].iov_base, parts[i].iov_len);
    ssize_t done = put(fd, data, size, offset);
    free(data);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) {
    return our_fd(fd) ? put(fd, data, size, -1) : REAL(write)(fd, data, size);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    return our_fd(fd) ? put(fd, data, size, offset) : REAL(pwrite64)(fd, data, size, offset);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return pwrite64(fd, data, size, offset);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return our_fd(fd) ? put_all(fd, parts, count, -1) : REAL(writev)(fd, parts, count);
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags) {
    return our_fd(fd) ? put_all(fd, parts, count, offset) : REAL(pwritev64v2)(fd, parts, count, offset, flags);
}
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    return pwritev64v2(fd, parts, count, offset, flags);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return pwritev64v2(fd, parts, count, offset, 0);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev64v2(fd, parts, count, offset, 0);
}

/* Copies inside the kernel are made by hand, so that they are writes like any other. */
static ssize_t copy(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size) {
    if (size > 1 << 20) size = 1 << 20;
    char *data = malloc(size);
    ssize_t got = from_offset ? pread64(from, data, size, *from_offset) : read(from, data, size);
    ssize_t done = got > 0 ? put(to, data, (size_t)got, to_offset ? *to_offset : -1) : got;
    if (done > 0 && from_offset) *from_offset += done;
    if (done > 0 && to_offset) *to_offset += done;
    free(data);
    return done;
}
ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size, unsigned flags) {
    return our_fd(to) ? copy(from, from_offset, to, to_offset, size)
                      : REAL(copy_file_range)(from, from_offset, to, to_offset, size, flags);
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) {
    return our_fd(to) ? copy(from, offset, to, NULL, size) : REAL(sendfile64)(to, from, offset, size);
}
ssize_t sendfile(int to, int from, off_t *offset, size_t size) {
    return sendfile64(to, from, (off64_t *)offset, size);
}

/* Everything else. `call` returns 0 or -1. */
#define CHANGE(ours, call, saying)                      \
    do {                                                \
        if (!(ours)) return call;                       \
        int fault = enter(0);                           \
        int done = fault == FAIL ? refuse() : call;     \
        if (!done && control->logging) saying;          \
        if (!done && fault == LOSE) done = refuse();    \
        leave(fault);                                   \
        return done;                                    \
    } while (0)

/* A file whose fsync failed may have lost what was written, whatever a second fsync says. */
static void note_sync(int fd, int failed) {
    char path[PATH_MAX];
    struct stat s;
    if (fstat(fd, &s) || !S_ISREG(s.st_mode) || !fd_path(fd, path)) return;
    if (strstr(path, "lineage.db")) return; /* SQLite rolls back and starts again */
    for (int i = 0; i < REMEMBERED; i++) {
        if (control->unsynced[i] == (int64_t)s.st_ino) control->synced_again += !failed;
        if (control->unsynced[i] == (int64_t)s.st_ino || (failed && !control->unsynced[i])) {
            control->unsynced[i] = (int64_t)s.st_ino;
            return;
        }
    }
}

/* Below the root no fsync reaches the disk: nobody pulls the plug, and it would take most of the time. */
static int sync_with(int (*call)(int), int fd) {
    if (!fd_below(fd)) return call(fd);
    if (!watched()) return 0;
    int fault = enter(0);
    int done = fault == FAIL || fault == LOSE ? refuse() : 0;
    note_sync(fd, done);
    if (!done) say_node('s', fd, 0, NULL, 0);
    leave(fault);
    return done;
}
int fsync(int fd) {
    return sync_with(REAL(fsync), fd);
}
int fdatasync(int fd) {
    return sync_with(REAL(fdatasync), fd);
}

int ftruncate64(int fd, off64_t length) {
    CHANGE(our_fd(fd), REAL(ftruncate64)(fd, length), say_node('t', fd, length, NULL, 0));
}
int ftruncate(int fd, off_t length) {
    return ftruncate64(fd, length);
}
int truncate64(const char *path, off64_t length) {
    int fd = open64(path, O_WRONLY | O_CLOEXEC);
    int done = fd < 0 ? -1 : ftruncate64(fd, length);
    if (fd >= 0) close(fd);
    return done;
}
int truncate(const char *path, off_t length) {
    return truncate64(path, length);
}
int fallocate64(int fd, int how, off64_t offset, off64_t size) {
    CHANGE(our_fd(fd), REAL(fallocate64)(fd, how, offset, size), say_node('a', fd, offset + size, NULL, 0));
}
int fallocate(int fd, int how, off_t offset, off_t size) {
    return fallocate64(fd, how, offset, size);
}
int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    if (!our_fd(fd)) return REAL(posix_fallocate64)(fd, offset, size);
    int kept = errno, error = fallocate64(fd, 0, offset, size) ? errno : 0;
    errno = kept;
    return error;
}
int posix_fallocate(int fd, off_t offset, off_t size) {
    return posix_fallocate64(fd, offset, size);
}

static int move(int from, const char *old, int to, const char *new, unsigned flags) {
    struct record r = {.kind = 'r'};
    if (watched() && control->logging)
        r.node = node_at(from, old), r.folder = folder_of(from, old), r.other = folder_of(to, new);
    CHANGE(our_path(to, new), REAL(renameat2)(from, old, to, new, flags), say(r, name_in(old), name_in(new), NULL));
}
int rename(const char *old, const char *new) {
    return move(AT_FDCWD, old, AT_FDCWD, new, 0);
}
int renameat(int from, const char *old, int to, const char *new) {
    return move(from, old, to, new, 0);
}
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) {
    return move(from, old, to, new, flags);
}
int linkat(int from, const char *old, int to, const char *new, int flags) {
    CHANGE(our_path(to, new), REAL(linkat)(from, old, to, new, flags), say_name('l', node_at(to, new), to, new));
}
int link(const char *old, const char *new) {
    return linkat(AT_FDCWD, old, AT_FDCWD, new, 0);
}
int symlinkat(const char *target, int to, const char *new) {
    CHANGE(our_path(to, new), REAL(symlinkat)(target, to, new), say_name('y', node_at(to, new), to, new));
}
int symlink(const char *target, const char *new) {
    return symlinkat(target, AT_FDCWD, new);
}
int unlinkat(int folder, const char *path, int flags) {
    CHANGE(our_path(folder, path), REAL(unlinkat)(folder, path, flags), say_name('u', 0, folder, path));
}
int unlink(const char *path) {
    return unlinkat(AT_FDCWD, path, 0);
}
int rmdir(const char *path) {
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    CHANGE(our_path(folder, path), REAL(mkdirat)(folder, path, mode),
           say_name('d', node_at(folder, path), folder, path));
}
int mkdir(const char *path, mode_t mode) {
    return mkdirat(AT_FDCWD, path, mode);
}
int fchmod(int fd, mode_t mode) {
    CHANGE(our_fd(fd), REAL(fchmod)(fd, mode), (void)0);
}
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    CHANGE(our_path(folder, path), REAL(fchmodat)(folder, path, mode, flags), (void)0);
}
int chmod(const char *path, mode_t mode) {
    return fchmodat(AT_FDCWD, path, mode, 0);
}

static void say_opened(int fd, int folder, const char *path, int existed, int flags) {
    if (!existed) say_name('c', node_of(fd), folder, path);
    else if (flags & O_TRUNC) say_node('t', fd, 0, NULL, 0);
}
static int open_with(int folder, const char *path, int flags, mode_t mode) {
    if (!(flags & (O_CREAT | O_TRUNC)) || !our_path(folder, path)) return REAL(openat64)(folder, path, flags, mode);
    int fault = enter(0);
    int existed = node_at(folder, path) != 0;
    int fd = fault == FAIL ? refuse() : REAL(openat64)(folder, path, flags, mode);
    if (fd >= 0 && control->logging) say_opened(fd, folder, path, existed, flags);
    if (fd >= 0 && fault == LOSE) close(fd), fd = refuse();
    leave(fault);
    return fd;
}
#define OPEN(name, folder, ...)                                   \
    int name(__VA_ARGS__ const char *path, int flags, ...) {      \
        va_list more;                                             \
        va_start(more, flags);                                    \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                             \
        return open_with(folder, path, flags, mode);              \
    }
OPEN(open, AT_FDCWD)
OPEN(open64, AT_FDCWD)
#define AT_FOLDER int folder,
OPEN(openat, folder, AT_FOLDER)
OPEN(openat64, folder, AT_FOLDER)
int creat(const char *path, mode_t mode) {
    return open_with(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) {
    return creat(path, mode);
}
