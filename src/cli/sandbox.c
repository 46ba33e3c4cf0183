/* SPDX-License-Identifier: MIT */
/*
 * The sandbox of a worker. Landlock says which files: everything it knows is forbidden, and a few
 * folders are let through again. seccomp says which system calls: those that were seen in the tests
 * on both back ends, and their near relatives that another libc may take instead. io_uring passes
 * seccomp by, and Landlock not; it cannot run programs either.
 */
#include "cli/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(struct ferry_sandbox *out, const char *what, int err)
{
    snprintf(out->why, sizeof out->why, "%s: %s", what, ferry_strerror(err));
    return err;
}

/* -- Landlock --------------------------------------------------------------------------------- */

/* The kernel's struct as it has become since the headers of older systems were written. */
struct ruleset {
    uint64_t fs, net, scoped;
};

#define FS_TRUNCATE (UINT64_C(1) << 14)  /* since 3 */
#define FS_IOCTL_DEV (UINT64_C(1) << 15) /* since 5 */
#define NET_BIND_TCP UINT64_C(1)         /* since 4 */
#define SCOPE_SIGNAL UINT64_C(2)         /* since 6 */
#define FS_FIRST (LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1)

#define READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define SPOOL                                                                                      \
    (READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |                          \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | FS_TRUNCATE)
#define WRITE (SPOOL | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REFER)
#define OF_FILES (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE)

static struct ruleset known(int version)
{
    struct ruleset r = {.fs = FS_FIRST};

    if (version >= 2)
        r.fs |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        r.fs |= FS_TRUNCATE;
    if (version >= 4)
        r.net = NET_BIND_TCP; /* what it listens on is bound already */
    if (version >= 5)
        r.fs |= FS_IOCTL_DEV;
    if (version >= 6)
        r.scoped = SCOPE_SIGNAL;
    return r;
}

static int allow(int ruleset, const struct ruleset *r, const char *path, uint64_t access)
{
    struct landlock_path_beneath_attr rule = {
        .parent_fd = open(path, O_PATH | O_CLOEXEC),
    };
    struct stat st = {0};
    int err = 0;

    if (rule.parent_fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -errno;
    if (fstat(rule.parent_fd, &st) < 0)
        err = -errno;
    rule.allowed_access = access & r->fs & (S_ISDIR(st.st_mode) ? UINT64_MAX : OF_FILES);
    if (err == 0 &&
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        err = -errno;
    close(rule.parent_fd);
    return err;
}

static int enter_landlock(const struct ferry_sandbox_opts *o, struct ferry_sandbox *out)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct ruleset r;
    int fd, err = 0;

    if (version < 1) { /* not built, or not switched on */
        snprintf(out->why, sizeof out->why, "this kernel has no Landlock");
        return 0;
    }
    if (version < 2 && o->nwritable) {
        snprintf(out->why, sizeof out->why, "the Landlock of this kernel knows no moving of files");
        return 0;
    }
    r = known((int)version);
    fd = (int)syscall(SYS_landlock_create_ruleset, &r,
                      version >= 6   ? sizeof r
                      : version >= 4 ? 2 * sizeof r.fs
                                     : sizeof r.fs,
                      0);
    if (fd < 0)
        return fail(out, "Landlock refuses its rules", -errno);
    for (unsigned i = 0; err == 0 && i < o->nreadable; i++)
        err = allow(fd, &r, o->readable[i], READ);
    for (unsigned i = 0; err == 0 && i < o->nwritable; i++)
        err = allow(fd, &r, o->writable[i], WRITE);
    if (err == 0 && o->spool)
        err = allow(fd, &r, o->spool, SPOOL);
    if (err == 0 && syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        err = -errno;
    close(fd);
    if (err < 0)
        return fail(out, "Landlock refuses a rule", err);
    out->landlock = (int)version;
    return 0;
}

/* -- seccomp ---------------------------------------------------------------------------------- */

static const int allowed[] = {
    /* files */
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64),
    SCMP_SYS(pwrite64), SCMP_SYS(preadv), SCMP_SYS(pwritev), SCMP_SYS(preadv2), SCMP_SYS(pwritev2),
    SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(close), SCMP_SYS(close_range),
    SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx),
    SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(readlink),
    SCMP_SYS(readlinkat), SCMP_SYS(getcwd), SCMP_SYS(getdents64), SCMP_SYS(lseek), SCMP_SYS(fcntl),
    SCMP_SYS(dup), SCMP_SYS(dup2), SCMP_SYS(dup3), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
    SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(fadvise64), SCMP_SYS(sendfile),
    SCMP_SYS(splice), SCMP_SYS(copy_file_range), SCMP_SYS(pipe), SCMP_SYS(pipe2),
    /* sockets */
    SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(getsockname),
    SCMP_SYS(getpeername), SCMP_SYS(setsockopt), SCMP_SYS(getsockopt), SCMP_SYS(shutdown),
    SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg),
    SCMP_SYS(recvmmsg), SCMP_SYS(bind),
    /* the loop */
    SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register),
    SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
    SCMP_SYS(epoll_pwait2), SCMP_SYS(eventfd2), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select),
    SCMP_SYS(pselect6),
    /* memory, threads, signals */
    SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(madvise),
    SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(get_robust_list),
    SCMP_SYS(rseq), SCMP_SYS(membarrier), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(getppid),
    SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(getcpu), SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigtimedwait),
    SCMP_SYS(rt_sigpending), SCMP_SYS(sigaltstack), SCMP_SYS(restart_syscall), SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    /* time, numbers, who we are */
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(gettimeofday), SCMP_SYS(time),
    SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(getrandom), SCMP_SYS(uname),
    SCMP_SYS(sysinfo), SCMP_SYS(getrusage), SCMP_SYS(getrlimit), SCMP_SYS(getuid),
    SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid)};

/* Where it writes to folders. */
static const int writing[] = {SCMP_SYS(mkdir),     SCMP_SYS(mkdirat),        SCMP_SYS(rename),
                              SCMP_SYS(renameat),  SCMP_SYS(link),           SCMP_SYS(linkat),
                              SCMP_SYS(renameat2), SCMP_SYS(fsync),          SCMP_SYS(fdatasync),
                              SCMP_SYS(chmod),     SCMP_SYS(fchmod),         SCMP_SYS(fchmodat),
                              SCMP_SYS(syncfs),    SCMP_SYS(sync_file_range)};

/* Nothing ever tries these by mistake. */
static const int deadly[] = {SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(ptrace),
                             SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev)};

static int add_rules(scmp_filter_ctx ctx, bool writes)
{
    /* TIOCOUTQ: has a mail client's side acknowledged what it was told? */
    static const unsigned long ioctls[] = {TCGETS, FIONREAD, FIONBIO, TIOCOUTQ};
    int err = 0;

    for (size_t i = 0; err == 0 && i < sizeof allowed / sizeof *allowed; i++)
        err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; err == 0 && writes && i < sizeof writing / sizeof *writing; i++)
        err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, writing[i], 0);
    for (size_t i = 0; err == 0 && i < sizeof deadly / sizeof *deadly; i++)
        err = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    for (size_t i = 0; err == 0 && i < sizeof ioctls / sizeof *ioctls; i++)
        err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                               SCMP_A1(SCMP_CMP_EQ, ioctls[i]));
    /* Threads, no processes. What clone3 would do cannot be seen from here; libc then takes clone,
     * whose flags can. */
    if (err == 0)
        err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (err == 0)
        err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    /* Our own threads and limits, nobody else's. */
    if (err == 0)
        err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                               SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    if (err == 0)
        err =
            seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A0(SCMP_CMP_EQ, 0));
    if (err == 0)
        err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
                               SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
    return err;
}

static int enter_seccomp(struct ferry_sandbox *out, bool writes)
{
    scmp_filter_ctx ctx;
    int err;

    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
        snprintf(out->why, sizeof out->why, "this kernel has no seccomp");
        return 0;
    }
    ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx)
        return fail(out, "no memory for seccomp's rules", -ENOMEM);
    /* What is lost when one of these is not to be had is a line in a log, or some speed. */
    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1);
    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_SSB, 1);
    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    err = add_rules(ctx, writes);
    if (err == 0)
        err = seccomp_load(ctx);
    seccomp_release(ctx);
    if (err < 0)
        return fail(out, "seccomp refuses its rules", err);
    out->seccomp = true;
    return 0;
}

int ferry_sandbox_enter(const struct ferry_sandbox_opts *o, bool all, struct ferry_sandbox *out)
{
    int err;

    *out = (struct ferry_sandbox){0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail(out, "cannot give up new privileges", -errno);
    err = enter_landlock(o, out);
    if (err == 0 && all && !out->landlock)
        return -ENOSYS;
    if (err == 0)
        err = enter_seccomp(out, o->nwritable > 0);
    if (err == 0 && all && !out->seccomp)
        return -ENOSYS;
    return err;
}
