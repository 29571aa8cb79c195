// Which objects are out. Hardened caches have a word for each at the beginning of its slab; in debug kernels
// the descriptors of pages have a bit for each. (Debug caches have it in the object's track.) Included by
// slab.h.
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
  if (!object || !knows_out()) return object;
  if constexpr (K::kConfig.debug && !kLean)
    pages_->page_of(object)->out.set(reinterpret_cast<std::uintptr_t>(object) % kPageSize);
  else
    out_of(object).store(1, internal::kRelaxed);
  return object;
}

template <Kernel K, LockPolicy L>
inline bool BasicKmemCache<K, L>::comes_back(const void* object) noexcept {
  if constexpr (K::kConfig.debug && !kLean)
    return pages_->page_of(const_cast<void*>(object))
        ->out.take(reinterpret_cast<std::uintptr_t>(object) % kPageSize);
  else
    return out_of(object).exchange(0, internal::kRelaxed) == 1;
}

}  // namespace nestlock
