// Hardened caches: a word for each object, at the beginning of its slab, says whether it is out. Included by slab.h.
#pragma once

#include <cstdint>
#include <new>

#include "nestlock/slab.h"

namespace nestlock {

template <Kernel K, LockPolicy L>
typename BasicKmemCache<K, L>::Out& BasicKmemCache<K, L>::out_of(const void* object) noexcept {
  char* const slab = static_cast<char*>(pages_->address(&slab_of(const_cast<void*>(object))));
  const auto offset = static_cast<std::size_t>(static_cast<const char*>(object) - slab);
  return *std::launder(reinterpret_cast<Out*>(slab + (offset - lead_) / stride_ * sizeof(Out)));
}

template <Kernel K, LockPolicy L>
inline void* BasicKmemCache<K, L>::goes_out(void* object) noexcept {
  if (hardened() && object) out_of(object).store(1, internal::kRelaxed);
  return object;
}

template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::comes_back(const void* object) noexcept {
  return out_of(object).exchange(0, internal::kRelaxed) == 1;
}

}  // namespace nestlock
