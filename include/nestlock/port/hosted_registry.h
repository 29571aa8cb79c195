// Hosted port, part 6: one state of the port for the whole process.
//
// The program and each shared library that includes these headers have a copy of all that is declared
// here, whatever the visibility and the compiler (the variables are hidden: nothing is shared by chance,
// and no symbol keeps a library loaded). One copy leads: the program's, if it has one, else the first
// library's. The others join it before their first constructor of ordinary priority, and use its state.
//
// A copy is found by a note in its object, which dl_iterate_phdr() shows also of a program that exports
// nothing. The note leads to the copy's Record. Copies that differ in what the state looks like end the
// process with a message, and so does a library that was loaded into another namespace (dlmopen()).
//
// Unloading. A library that leads alone takes its state, its exit key and its fork handler along. Once
// another has joined it, it stays loaded; so does one that pushes an OfflineHook or handles the first
// registered signal. All others can go at any time, but for a thread that is inside them.
#pragma once

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "nestlock/port/hosted_cpu.h"
#include "nestlock/port/hosted_process.h"

// Weak: a program that is linked statically has none.
extern "C" [[gnu::weak]] decltype(dlopen) dlopen;

namespace nestlock::hosted {

#define NESTLOCK_INTERNAL_HIDDEN [[gnu::visibility("hidden")]]

// What must be equal, in the order in which it is told.
inline constexpr unsigned kLayouts = 6;
struct Layout {
  std::uint32_t is[kLayouts] = {NESTLOCK_VERSION_MAJOR,
                                NESTLOCK_VERSION_MINOR,
                                NESTLOCK_VERSION_PATCH,
                                kHostedMaxCpus,
                                kPageShift,
                                sizeof(ThreadState) + sizeof(Process)};
};

struct Record {
  Layout layout;
  std::atomic<std::uint32_t> claimed;  // of the first in the list, by who is about to lead
  std::atomic<std::uint32_t> leads;
  ThreadState* (*own)() noexcept;  // the calling thread's in this copy
  Process* process;
  void (*join)() noexcept;
};

NESTLOCK_INTERNAL_HIDDEN inline constinit Record record
    [[gnu::used]] asm("nestlock_record"){{}, 0, 0, own_here, &own_process, join};
// A library that keeps a state of its own (choice.h) has no note, so no other joins it.
#if !defined(NESTLOCK_OWN_STATE)
inline constexpr bool kOwnState = false;
// In no section group, or --gc-sections may drop it. One a file, all the same.
asm(".pushsection .note.nestlock,\"a\",%note\n"
    ".balign 4\n"
    ".long 9, 4, 1\n"
    ".asciz \"Nestlock\"\n"
    ".balign 4\n"
    ".hidden nestlock_record\n"
    ".long nestlock_record - .\n"
    ".popsection\n");
#else
inline constexpr bool kOwnState = true;
#endif

// What a walk through the loaded objects finds.
struct Search {
  const void* mine;             // an address in the object to be found
  const void* other = nullptr;  // whether this is in the same
  bool both = false, in_program = false, program_seen = false, headers_seen = false;
  const char *name = "", *leader_name = "";
  Record *first = nullptr, *leader = nullptr, *program = nullptr;
};

NESTLOCK_INTERNAL_HIDDEN inline Record* record_in(const dl_phdr_info& object) noexcept {
  for (unsigned i = 0; i < object.dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = object.dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    const std::size_t align = header.p_align == 8 ? 8 : 4;
    const auto up = [&](std::size_t n) { return (n + align - 1) & ~(align - 1); };
    auto* at = reinterpret_cast<const char*>(object.dlpi_addr + header.p_vaddr);
    for (const char* const end = at + header.p_memsz; at + sizeof(ElfW(Nhdr)) < end;) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* const name = at + sizeof note;
      const char* const told = at + up(sizeof note + note.n_namesz);
      if (note.n_namesz == 9 && note.n_descsz == 4 && !std::memcmp(name, "Nestlock", 9)) {
        std::int32_t way;
        std::memcpy(&way, told, sizeof way);
        return reinterpret_cast<Record*>(const_cast<char*>(told) + way);
      }
      at = told + up(note.n_descsz);
    }
  }
  return nullptr;
}

NESTLOCK_INTERNAL_HIDDEN inline int look(dl_phdr_info* object, std::size_t, void* search) noexcept {
  auto& s = *static_cast<Search*>(search);
  const bool program = reinterpret_cast<unsigned long>(object->dlpi_phdr) == getauxval(AT_PHDR);
  s.program_seen |= program;
  s.headers_seen |= object->dlpi_phnum != 0;
  bool mine = false, other = false;
  for (unsigned i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = object->dlpi_phdr[i];
    if (header.p_type != PT_LOAD) continue;
    const std::uintptr_t at = object->dlpi_addr + header.p_vaddr;
    const auto in = [&](const void* p) {
      return reinterpret_cast<std::uintptr_t>(p) - at < header.p_memsz;
    };
    mine |= in(s.mine), other |= in(s.other);
  }
  if (mine) s.name = object->dlpi_name, s.in_program = program, s.both = other;
  Record* const r = record_in(*object);
  if (!r) return 0;
  if (!s.first) s.first = r;
  if (program) s.program = r;
  if (r->leads.load(std::memory_order_acquire)) s.leader = r, s.leader_name = object->dlpi_name;
  return 0;
}

NESTLOCK_INTERNAL_HIDDEN inline Search search(const void* other = nullptr) noexcept {
  Search s{&record, other};
  dl_iterate_phdr(look, &s);
  return s;
}

// Whether the two of us are in one loaded object.
NESTLOCK_INTERNAL_HIDDEN inline bool in_this_object(const void* p) noexcept {
  return search(p).both;
}

// The linker's name for where the object that the caller is part of begins.
extern "C" [[gnu::weak, gnu::visibility("hidden")]] const ElfW(Ehdr) nestlock_start_of_this_object
    asm("__ehdr_start");

// Whether p points at what lives as long as that object. Any context: asks nobody.
NESTLOCK_INTERNAL_HIDDEN inline bool is_static_here(const void* p) noexcept {
  const ElfW(Ehdr)* const start = &nestlock_start_of_this_object;
  if (!start) return false;
  const auto base = reinterpret_cast<std::uintptr_t>(start);
  const auto* const header = reinterpret_cast<const ElfW(Phdr)*>(base + start->e_phoff);
  std::uintptr_t first = ~std::uintptr_t{0};
  for (unsigned i = 0; i < start->e_phnum; ++i)
    if (header[i].p_type == PT_LOAD && header[i].p_vaddr < first) first = header[i].p_vaddr;
  for (unsigned i = 0; i < start->e_phnum; ++i)
    if (header[i].p_type == PT_LOAD &&
        reinterpret_cast<std::uintptr_t>(p) - (base - first + header[i].p_vaddr) <
            header[i].p_memsz)
      return true;
  return false;
}

// As a program ends whose libraries cannot be loaded.
[[noreturn]] NESTLOCK_INTERNAL_HIDDEN inline void refuse_to_load(const char* who,
                                                                 const char* why) noexcept {
  for (const char* part : {"nestlock: ", *who ? who : "the program", ": ", why, "\n"})
    syscall(SYS_write, STDERR_FILENO, part, std::strlen(part));
  _exit(127);
}

NESTLOCK_INTERNAL_HIDDEN inline void compare(const Search& s, const Layout& theirs) noexcept {
  static constexpr const char* kWhy[kLayouts] = {
      "was built for another version of Nestlock than what is loaded already; rebuild one of them",
      "was built for another version of Nestlock than what is loaded already; rebuild one of them",
      "was built for another version of Nestlock than what is loaded already; rebuild one of them",
      "was built with another NESTLOCK_MAX_CPUS than what is loaded already; rebuild one of them",
      "was built with another NESTLOCK_PAGE_SHIFT than what is loaded already; rebuild one of them",
      "was built with another ThreadSanitizer or compiler than what is loaded already"};
  for (unsigned i = 0; i < kLayouts; ++i)
    if (record.layout.is[i] != theirs.is[i]) refuse_to_load(s.name, kWhy[i]);
}

NESTLOCK_INTERNAL_HIDDEN inline void keep(const char* name) noexcept {
  if (!dlopen || !dlopen(name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE))
    refuse_to_load(name, "cannot be kept loaded");
}

NESTLOCK_INTERNAL_HIDDEN inline constinit std::atomic<bool> joined{false};

// From the thread pointer, if it is the same in all threads: so what was there when the program began;
// a program's and its first libraries'. Else a thread's is allocated. The one lies beside the thread
// pointer, where its stack is or nothing; the other does not.
NESTLOCK_INTERNAL_HIDDEN inline std::uintptr_t place_in_all_threads(const ThreadState* s) noexcept {
  constexpr std::uintptr_t kNear = std::uintptr_t{16} * 1024;
  const std::uintptr_t place = reinterpret_cast<std::uintptr_t>(s) -
                               reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
  return place + kNear < 2 * kNear ? place : 0;
}

NESTLOCK_INTERNAL_HIDDEN inline void lead() noexcept {
  if constexpr (kMayBeInALibrary) place_of_the_one = place_in_all_threads(&own_state);
  internal::set_up_process();
  record.leads.store(1, std::memory_order_release);
}

NESTLOCK_INTERNAL_HIDDEN inline void follow(const Search& s, const Record& leader) noexcept {
  compare(s, leader.layout);
  the_process = leader.process;
  find_the_one = leader.own;
  place_of_the_one = place_in_all_threads(leader.own());
  if (&leader != s.program) keep(s.leader_name);
}

// Before the constructors of ordinary priority, at the first use if that is earlier, and when another
// copy needs this one to lead.
[[gnu::constructor(101), gnu::used]] inline void join() noexcept {
  if (joined.exchange(true)) return;
  if constexpr (!kMayBeInALibrary || kOwnState) return lead();
  for (;;) {  // musl runs constructors without its lock
    const Search s = search();
    // A static program, so early in its start that the C library has not noted its headers yet.
    if (!s.headers_seen) return lead();
    if (!s.program_seen)
      refuse_to_load(s.name,
                     "is loaded into a namespace of its own, where it cannot join the program");
    if (!s.first) refuse_to_load(s.name, "has lost its note: the link must keep .note.nestlock");
    if (s.in_program) return lead();
    if (s.program) return s.program->join(), follow(s, *s.program);
    if (s.leader) return follow(s, *s.leader);
    if (!s.first->claimed.exchange(1)) return lead();
  }
}

// What is pushed into the common state must not go away with its library.
NESTLOCK_INTERNAL_HIDDEN inline void stay_loaded() noexcept {
  join();
  if constexpr (kMayBeInALibrary)
    if (const Search s = search(); !record.leads && !s.in_program) keep(s.name);
}

// When the library is unloaded, or the program ends.
[[gnu::destructor(101), gnu::used]] NESTLOCK_INTERNAL_HIDDEN inline void leave() noexcept {
  if (record.leads.load(kRelaxed)) return internal::end_process();
  const ReportSink sink = process().report_sink.load(kRelaxed);
  if (sink && in_this_object(reinterpret_cast<const void*>(sink)))
    process().report_sink.store(nullptr, kRelaxed);
  // seq_cst, the look too, for it may find another copy's in the place of ours: see wait_for_exit_hooks().
  if (auto hook = process().left_open_hook.load();
      hook && in_this_object(reinterpret_cast<const void*>(hook)))
    process().left_open_hook.compare_exchange_strong(hook, nullptr);
  internal::wait_for_exit_hooks();
}

}  // namespace nestlock::hosted
