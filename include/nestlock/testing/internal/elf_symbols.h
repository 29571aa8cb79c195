// The functions of a loaded program or shared object, by name: from its file's symbol table.
#pragma once

#if defined(__linux__)
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace nestlock::testing::internal {

// A program or shared object in memory.
struct LoadedObject {
  struct Segment {
    std::uintptr_t lo, hi;
  };
  std::string path;  // of its file
  bool main = false;
  bool interpreted = false;  // the main program, and dynamically linked
  std::uintptr_t bias = 0;   // address in memory = address in the file + bias
  std::vector<Segment> code;

  bool holds(std::uintptr_t address) const {
    for (const Segment& s : code)
      if (s.lo <= address && address < s.hi) return true;
    return false;
  }
};

#if defined(__linux__)

// All of them; the main program comes first.
inline std::vector<LoadedObject> loaded_objects() {
  std::vector<LoadedObject> all;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        auto& objects = *static_cast<std::vector<LoadedObject>*>(out);
        LoadedObject o;
        o.main = objects.empty();
        o.path = o.main ? "/proc/self/exe" : info->dlpi_name;
        o.bias = info->dlpi_addr;
        for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
          const auto& p = info->dlpi_phdr[i];
          if (p.p_type == PT_INTERP) o.interpreted = true;
          if (p.p_type == PT_LOAD && (p.p_flags & PF_X))
            o.code.push_back({o.bias + p.p_vaddr, o.bias + p.p_vaddr + p.p_memsz});
        }
        objects.push_back(o);
        return 0;
      },
      &all);
  return all;
}

// The symbol table of an ELF file; empty if it cannot be read or was stripped.
class ElfSymbols {
 public:
  explicit ElfSymbols(const LoadedObject& object) : bias_(object.bias) {
    const int fd = open(object.path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    struct stat st{};
    if (fstat(fd, &st) == 0 && st.st_size > 0) {
      size_ = static_cast<std::size_t>(st.st_size);
      void* const p = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
      if (p != MAP_FAILED) file_ = static_cast<const char*>(p);
    }
    close(fd);
    if (file_) find_table();
  }
  ~ElfSymbols() {
    if (file_) munmap(const_cast<char*>(file_), size_);
  }
  ElfSymbols(const ElfSymbols&) = delete;
  ElfSymbols& operator=(const ElfSymbols&) = delete;

  bool empty() const { return symbols_ == 0; }

  // Calls f(name, lo, hi) for each function; hi == lo where the file states no size.
  template <class F>
  void each_function(F&& f) const {
    for (std::size_t i = 0; i < symbols_; ++i) {
      ElfW(Sym) s;
      std::memcpy(&s, file_ + table_ + i * sizeof s, sizeof s);
      if (ELF64_ST_TYPE(s.st_info) != STT_FUNC && ELF64_ST_TYPE(s.st_info) != STT_NOTYPE) continue;
      if (s.st_shndx == SHN_UNDEF || s.st_shndx >= SHN_LORESERVE || s.st_name >= names_size_)
        continue;
      f(file_ + names_ + s.st_name, bias_ + s.st_value, bias_ + s.st_value + s.st_size);
    }
  }

 private:
  template <class T>
  bool read(std::size_t at, T& out) const {
    if (at > size_ || size_ - at < sizeof out) return false;
    std::memcpy(&out, file_ + at, sizeof out);
    return true;
  }

  void find_table() {
    ElfW(Ehdr) head;
    if (!read(0, head) || std::memcmp(head.e_ident, ELFMAG, SELFMAG) != 0) return;
    for (const ElfW(Word) wanted : {ElfW(Word){SHT_SYMTAB}, ElfW(Word){SHT_DYNSYM}})
      for (unsigned i = 0; i < head.e_shnum && !symbols_; ++i) {
        ElfW(Shdr) table, names;
        if (!read(head.e_shoff + i * sizeof table, table) || table.sh_type != wanted) continue;
        if (!read(head.e_shoff + table.sh_link * sizeof names, names)) continue;
        if (table.sh_offset > size_ || size_ - table.sh_offset < table.sh_size) continue;
        if (names.sh_offset > size_ || size_ - names.sh_offset < names.sh_size) continue;
        if (!names.sh_size || file_[names.sh_offset + names.sh_size - 1] != '\0') continue;
        table_ = table.sh_offset, symbols_ = table.sh_size / sizeof(ElfW(Sym));
        names_ = names.sh_offset, names_size_ = names.sh_size;
      }
  }

  const char* file_ = nullptr;
  std::size_t size_ = 0, table_ = 0, symbols_ = 0, names_ = 0, names_size_ = 0;
  std::uintptr_t bias_;
};

#else

inline std::vector<LoadedObject> loaded_objects() { return {}; }
class ElfSymbols {
 public:
  explicit ElfSymbols(const LoadedObject&) {}
  bool empty() const { return true; }
  template <class F>
  void each_function(F&&) const {}
};

#endif

}  // namespace nestlock::testing::internal
