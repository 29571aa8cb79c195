// CodeRanges: which machine code a sweep interrupts. A set of address ranges [lo, hi).
//
//   CodeRanges::whole_program()      the default: all code that is not the system's
//   CodeRanges::swept()              the functions marked NESTLOCK_SWEPT in this program or object
//   CodeRanges::function("f")        one function, by its name (mangled, or without arguments)
//   CodeRanges::object_of(&f)        the program or shared object that holds f
//   CodeRanges{}.add(lo, hi)         anything else
//
// Linux; elsewhere nothing is ever found. Not to be called while stepping: it allocates and reads
// files.
#pragma once

#include <cxxabi.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "nestlock/config/cxx20.h"
#include "nestlock/testing/internal/elf_symbols.h"
#include "nestlock/testing/internal/unseen.h"

namespace nestlock::testing {

// Instructions that lie together.
struct CodeRange {
  std::uintptr_t lo = 0, hi = 0;  // [lo, hi)
};

class CodeRanges {
 public:
  CodeRanges() = default;

  // The executable and the shared objects beside it, but not the system's (libc, libstdc++, a
  // sanitizer's runtime, whatever lies in a system library directory) and not a runtime that was
  // linked into the executable itself. Empty, with a trouble(), if these cannot be told apart: a
  // statically linked program, or clang's sanitizers in a stripped one. Then name the functions.
  static CodeRanges whole_program();

  // Must stand in the program or shared object whose section is meant.
  [[gnu::always_inline]] static inline CodeRanges swept() {
    return CodeRanges{}.add(__start_nestlock_swept, __stop_nestlock_swept);
  }

  // All functions of that name, overloads and the compiler's partial clones included. `name` is the
  // mangled name, or the qualified name with or without the argument list.
  static CodeRanges function(std::string_view name);

  // The code of the program or shared object that `address` lies in.
  static CodeRanges object_of(const void* address) {
    CodeRanges r;
    for (const auto& o : internal::loaded_objects())
      if (o.holds(reinterpret_cast<std::uintptr_t>(address)))
        for (const auto& s : o.code) r.add(s.lo, s.hi);
    return r;
  }

  // Adds these; what overlaps is one.
  CodeRanges& add(std::uintptr_t lo, std::uintptr_t hi) {
    remove(lo, hi);
    if (lo < hi) ranges_.push_back({lo, hi});
    std::sort(ranges_.begin(), ranges_.end(), [](CodeRange a, CodeRange b) { return a.lo < b.lo; });
    return *this;
  }
  CodeRanges& add(const void* lo, const void* hi) {
    return add(reinterpret_cast<std::uintptr_t>(lo), reinterpret_cast<std::uintptr_t>(hi));
  }
  CodeRanges& add(const CodeRanges& more) {
    for (const CodeRange r : more.ranges_) add(r.lo, r.hi);
    return *this;
  }

  // Takes these out.
  CodeRanges& remove(std::uintptr_t lo, std::uintptr_t hi) {
    if (lo >= hi) return *this;
    std::vector<CodeRange> left;
    for (const CodeRange r : ranges_) {
      if (r.lo < std::min(r.hi, lo)) left.push_back({r.lo, std::min(r.hi, lo)});
      if (std::max(r.lo, hi) < r.hi) left.push_back({std::max(r.lo, hi), r.hi});
    }
    ranges_ = std::move(left);
    return *this;
  }
  CodeRanges& remove(const CodeRanges& less) {
    for (const CodeRange r : less.ranges_) remove(r.lo, r.hi);
    return *this;
  }

  // What is in it, sorted.
  bool empty() const { return ranges_.empty(); }
  bool contains(const void* address) const {
    const auto a = reinterpret_cast<std::uintptr_t>(address);
    return std::any_of(ranges_.begin(), ranges_.end(),
                       [a](CodeRange r) { return r.lo <= a && a < r.hi; });
  }
  const std::vector<CodeRange>& ranges() const& { return ranges_; }
  std::vector<CodeRange> ranges() && { return std::move(ranges_); }

  // Why it is empty, where a factory knows.
  const char* trouble() const { return trouble_; }

 private:
  explicit CodeRanges(const char* trouble) : trouble_(trouble) {}
  static bool belongs_to_system(std::string_view path);
  static CodeRanges sanitizer_runtime(const internal::LoadedObject& object);

  std::vector<CodeRange> ranges_;  // sorted, not overlapping
  const char* trouble_ = nullptr;
};

// The function that an address lies in, as text: "list_take()+0x12", or the bare address.
inline std::string describe(const void* address);

// ------------------------------------------------------------------------------------------------

namespace internal {

inline std::string demangled(const char* name) {
  int status = 0;
  char* const text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string r = status == 0 && text ? text : name;
  std::free(text);
  return r;
}

// Where the argument list of a demangled name begins.
inline std::string_view without_arguments(std::string_view text) {
  constexpr std::string_view kAnonymous = "(anonymous namespace)";
  std::size_t at = text.find('(');
  while (at != text.npos && text.substr(at, kAnonymous.size()) == kAnonymous)
    at = text.find('(', at + 1);
  return text.substr(0, at);
}

// Whether the function `symbol` (mangled) or a partial clone of it is what the user calls `name`.
inline bool is_named(std::string_view symbol, std::string_view name) {
  if (symbol.substr(0, symbol.find('.')) == name) return true;
  const std::string_view path = without_arguments(name);
  const std::string_view last = path.substr(path.rfind(':') + 1);  // npos + 1 == 0
  if (symbol.find(last) == symbol.npos) return false;              // demangling is slow
  const std::string text = demangled(std::string(symbol).c_str());
  const std::string_view plain = std::string_view(text).substr(0, text.find(" [clone"));
  return plain == name || without_arguments(plain) == name;
}

// The C++ namespaces of the sanitizers' runtimes, as they begin mangled names.
inline bool in_runtime_namespace(std::string_view name) {
  if (name.substr(0, 3) != "_ZN") return false;
  name.remove_prefix(name.substr(0, 4) == "_ZNK" ? 4 : 3);
  for (const std::string_view n : {"6__tsan", "6__asan", "6__lsan", "6__msan", "7__ubsan",
                                   "11__sanitizer", "14__interception"})
    if (name.substr(0, n.size()) == n) return true;
  return false;
}

// ... and their functions and assembler labels with C names. Users define some of these
// (__tsan_default_options, ...), so such a name counts only next to the others.
inline bool is_runtime_name(std::string_view name) {
  for (const std::string_view n : {"__tsan_", "__asan_", "__lsan_", "__msan_", "__ubsan_",
                                   "__sanitizer_", "__interceptor_", "___interceptor_", "."})
    if (name.substr(0, n.size()) == n) return true;
  return in_runtime_namespace(name);
}

}  // namespace internal

// The linker keeps an archive's objects together, so all between the first and the last function of
// the runtime's namespaces is the runtime; at both ends its C names join.
inline CodeRanges CodeRanges::sanitizer_runtime(const internal::LoadedObject& object) {
  struct Symbol {
    std::uintptr_t lo, hi;
    bool sure, likely;
  };
  std::vector<Symbol> all;
  internal::ElfSymbols(object).each_function(
      [&](const char* name, std::uintptr_t lo, std::uintptr_t hi) {
        if (object.holds(lo))
          all.push_back(
              {lo, hi, internal::in_runtime_namespace(name), internal::is_runtime_name(name)});
      });
  std::sort(all.begin(), all.end(), [](const Symbol& a, const Symbol& b) { return a.lo < b.lo; });
  const auto sure = [](const Symbol& s) { return s.sure; };
  auto first = std::find_if(all.begin(), all.end(), sure);
  if (first == all.end()) return {};
  auto last = std::find_if(all.rbegin(), all.rend(), sure).base() - 1;
  while (first != all.begin() && (first - 1)->likely) --first;
  while (last + 1 != all.end() && (last + 1)->likely) ++last;
  return CodeRanges{}.add(first->lo, last + 1 == all.end() ? last->hi : (last + 1)->lo);
}

inline bool CodeRanges::belongs_to_system(std::string_view path) {
  for (const std::string_view dir : {"/lib/", "/lib32/", "/lib64/", "/usr/", "/nix/", "/opt/"})
    if (path.substr(0, dir.size()) == dir) return true;
  if (path.find('/') == path.npos) return true;  // the vDSO
  path.remove_prefix(path.rfind('/') + 1);
  for (const std::string_view name :
       {"ld-", "libc.", "libc-", "libc++", "libm.", "libpthread", "libdl.", "librt.", "libstdc++",
        "libgcc_s", "libunwind", "libasan", "libtsan", "libubsan", "liblsan", "libclang_rt"})
    if (path.substr(0, name.size()) == name) return true;
  return false;
}

inline CodeRanges CodeRanges::whole_program() {
  CodeRanges r;
  bool runtime_found = false;
  for (const auto& o : internal::loaded_objects()) {
    if (o.main && !o.interpreted)
      return CodeRanges("a statically linked program holds its libc: name the code to sweep");
    if (!o.main && belongs_to_system(o.path)) {
      for (const char* name : {"libtsan", "libasan", "libclang_rt"})
        runtime_found |= o.path.find(name) != o.path.npos;
      continue;
    }
    const CodeRanges runtime = sanitizer_runtime(o);
    runtime_found |= !runtime.empty();
    for (const auto& s : o.code) r.add(s.lo, s.hi);
    r.remove(runtime);
  }
  if (NESTLOCK_INTERNAL_HAS_RUNTIME && !runtime_found)
    return CodeRanges("a stripped program holds its sanitizer's runtime: name the code to sweep");
  return r;
}

inline CodeRanges CodeRanges::function(std::string_view name) {
  CodeRanges r;
  for (const auto& o : internal::loaded_objects())
    internal::ElfSymbols(o).each_function(
        [&](const char* symbol, std::uintptr_t lo, std::uintptr_t hi) {
          if (o.holds(lo) && internal::is_named(symbol, name)) r.add(lo, hi);
        });
  return r.empty() ? CodeRanges("there is no function of that name") : r;
}

inline std::string describe(const void* address) {
  const auto a = reinterpret_cast<std::uintptr_t>(address);
  std::string best;
  std::uintptr_t from = 0;
  bool sized = false;  // a symbol without size may be any label
  for (const auto& o : internal::loaded_objects()) {
    if (!o.holds(a)) continue;
    internal::ElfSymbols(o).each_function(
        [&](const char* name, std::uintptr_t lo, std::uintptr_t hi) {
          const bool inside = lo <= a && a < hi;
          if (!inside && (sized || lo > a || lo != hi || lo < from)) return;
          best = name, from = lo, sized = inside;
        });
  }
  char number[24];
  std::snprintf(number, sizeof number, best.empty() ? "%#zx" : "+%#zx",
                static_cast<std::size_t>(best.empty() ? a : a - from));
  return (best.empty() ? best : internal::demangled(best.c_str())) + number;
}

}  // namespace nestlock::testing
