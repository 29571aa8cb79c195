// What QEMU's user mode does not do as the kernel does, each shown by the least that shows it. For
// left_out.txt. Of its own: no Nestlock, no C++.
//
//   aarch64-linux-gnu-gcc -pthread -static limits.c -o limits && qemu-aarch64 ./limits
//   gcc -pthread limits.c -o limits && ./limits        the kernel itself: no line says "limit"
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char* name, int limited, const char* what) {
  printf("%-10s %-6s %s\n", name, limited ? "limit" : "none", what);
}

// ---- autodisarm: sigaltstack() refuses SS_AUTODISARM ---------------------------------------------

static void autodisarm(void) {
  static char memory[1 << 16];
  const stack_t stack = {memory, (int)(1u << 31), sizeof memory};
  const int refused = sigaltstack(&stack, NULL) != 0;
  const stack_t none = {NULL, SS_DISABLE, 0};
  say("autodisarm", refused, refused ? strerror(errno) : "SS_AUTODISARM is taken");
  sigaltstack(&none, NULL);
}

// ---- action: a signal beside another thread's sigaction() gets half of the old, half of the new one ----

static volatile sig_atomic_t stop, mixed;
static void with_info(int signo, siginfo_t* info, void* context) {
  (void)signo, (void)context;
  const uintptr_t here = (uintptr_t)__builtin_frame_address(0), at = (uintptr_t)info;
  if (at - here > 1 << 16) mixed++;  // no siginfo on this stack: made for the other action
}
static void plain(int signo) { (void)signo; }
static void* raiser(void* unused) {
  while (!stop) syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), SIGRTMIN);
  return unused;
}
static void action(void) {
  struct sigaction both[2];
  memset(both, 0, sizeof both);
  both[0].sa_sigaction = with_info, both[0].sa_flags = SA_SIGINFO;
  both[1].sa_handler = plain;
  sigaction(SIGRTMIN, &both[0], NULL);
  pthread_t thread;
  pthread_create(&thread, NULL, raiser, NULL);
  for (int i = 0; i < 300000 && !mixed; ++i) sigaction(SIGRTMIN, &both[i & 1], NULL);
  stop = 1;
  pthread_join(thread, NULL);
  char text[80];
  snprintf(text, sizeof text, "%d handlers with SA_SIGINFO had no siginfo", (int)mixed);
  say("action", mixed != 0, text);
}

// ---- joined: a thread that was joined is still there, and waited for as the owner of a futex -----------

static uint32_t word;
static void* owner(void* unused) {
  word = (uint32_t)syscall(SYS_gettid);
  return unused;
}
static void joined(void) {
  int waited = 0;
  for (int i = 0; i < 3000 && !waited; ++i) {
    pthread_t thread;
    pthread_create(&thread, NULL, owner, NULL);
    pthread_join(thread, NULL);
    waited += syscall(SYS_futex, &word, FUTEX_LOCK_PI_PRIVATE, 0, NULL, NULL, 0) == 0;
  }
  char text[80];
  snprintf(text, sizeof text, "%d locks of owners that were gone were handed over", waited);
  say("joined", waited != 0, text);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  autodisarm();
  action();
  joined();
  return 0;
}
