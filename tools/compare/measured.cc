#include "tools/compare/measured.h"

#include <algorithm>
#include <set>

#include "nestlock/testing/code_ranges.h"
#include "tools/shared/interrupts.h"

namespace nestlock::tools {
namespace {

Answer answer_of(const Answers& a) {
  if (a.asked == 0) return Answer::never_asked;
  return a.granted == 0 ? Answer::refused : a.granted == a.asked ? Answer::granted : Answer::mixed;
}

// The machine code of both floors' own functions on this policy.
std::size_t text_of(const Policy& p) {
  using namespace testing::internal;
  const std::string type = demangled(p.type);
  std::set<std::uintptr_t> seen;  // some have two names
  std::size_t bytes = 0;
  ElfSymbols(loaded_objects().front())
      .each_function([&](const char* name, std::uintptr_t lo, std::uintptr_t hi) {
        const std::string_view symbol = name;
        if (symbol.find("BasicPageAllocator") == symbol.npos &&
            symbol.find("BasicKmemCache") == symbol.npos &&
            symbol.find("BasicSlabAllocator") == symbol.npos)
          return;
        const std::string text = demangled(name);
        for (const char* floor : {"PageAllocator<", "KmemCache<", "SlabAllocator<"}) {
          const auto at = text.find(floor);
          if (at == text.npos || text.find(type, at) == text.npos) continue;
          if (seen.insert(lo).second) bytes += hi - lo;
          return;
        }
      });
  return bytes;
}

std::uint64_t instructions_of_pair(const Policy& p) {
  p.objects.prepare();
  p.kmalloc_pair();  // fills this CPU's cache
  const auto nothing = [](void (*f)()) { return instructions_of([=] { f(); }); };
  return nothing(p.kmalloc_pair) - nothing([] {});
}

}  // namespace

const char* name_of_held(Answer a) {
  constexpr const char* kNames[] = {"no", "TAKEN", "MIXED", "masked"};
  return kNames[static_cast<unsigned>(a)];
}
const char* name_of_free(Answer a) {
  constexpr const char* kNames[] = {"NO", "yes", "MIXED", "-"};
  return kNames[static_cast<unsigned>(a)];
}

bool Measured::keeps_the_promise() const {
  std::uint64_t asked = 0, served = 0;
  for (const Column& c : by) {
    asked += c.pages.asked + c.objects.asked, served += c.pages.served + c.objects.served;
    if (c.pages.served == 0 || c.objects.served == 0) return false;
  }
  return sound() && true_everywhere() && served * 10 >= asked * 9;
}

Measured measure(const Policy& p, bool users) {
  Measured m{.name = p.name, .users = users, .lock_bytes = p.lock_bytes, .locks = p.locks};
  m.text_bytes = text_of(p);
  m.pair_instructions = instructions_of_pair(p);
  for (unsigned i = 0; i < 3; ++i) {
    Column& c = m.by[i];
    const Context by = kInterruptions[i];
    now_trying(p.name);
    const Asked a = by == Context::task ? ask_by_probes(p.lock) : ask_by_signals(p.lock, by);
    c.held = answer_of(a.held), c.free = answer_of(a.free);
    c.pages = interrupt_everywhere(p.pages, by);
    c.objects = interrupt_everywhere(p.objects, by);
    if (a.trouble) c.unlike_known = a.trouble;
    for (const Nested* n : {&c.pages, &c.objects})
      if (c.unlike_known.empty()) c.unlike_known = why_unlike_known(*n, p, i);
    if (c.unlike_known.empty() && users && !c.true_both_ways())
      c.unlike_known = "its try_lock() does not tell the truth";
  }
  return m;
}

std::vector<std::string> meaning(const std::vector<Measured>& all) {
  std::vector<const Measured*> good;
  std::vector<std::string> lines;
  for (const Measured& m : all)
    if (m.keeps_the_promise()) good.push_back(&m);
  if (good.empty()) return {"No lock here keeps the promise."};
  std::string names;
  for (const Measured* m : good) names += (names.empty() ? "" : ", ") + std::string(m->name);
  lines.push_back("True both ways, nothing handed out twice, nearly all served in every context:");
  lines.push_back("  " + names);
  // Those whose figure is the least, all of them, and the figure.
  const auto least = [&](auto figure, const char* unit) {
    const auto smaller = [&](const Measured* a, const Measured* b) {
      return figure(*a) < figure(*b);
    };
    const auto n = figure(**std::min_element(good.begin(), good.end(), smaller));
    std::string who;
    for (const Measured* m : good)
      if (figure(*m) == n) who += (who.empty() ? "" : ", ") + std::string(m->name);
    return who + " (" + std::to_string(n) + unit + ")";
  };
  lines.push_back("Of these the least lock state: " +
                  least([](const Measured& m) { return m.lock_bytes; }, " bytes") + ";");
  lines.push_back("the fewest instructions: " +
                  least([](const Measured& m) { return m.pair_instructions; }, "") + ".");
  for (const Measured& m : all) {
    if (m.keeps_the_promise() || m.users) continue;
    std::string where, refuses;
    for (unsigned i = 0; i < 3; ++i) {
      const auto add = [&](std::string& to) {
        to += (to.empty() ? "" : " and ") + std::string(kInterruptionNames[i]);
      };
      if (!m.by[i].sound()) add(where);
      if (m.by[i].pages.served == 0) add(refuses);
    }
    lines.push_back(std::string(m.name) + (where.empty() ? "" : " corrupts under " + where) +
                    (refuses.empty() ? ""
                                     : (where.empty() ? "" : ",") +
                                           std::string(" serves nothing under ") + refuses) +
                    ".");
  }
  return lines;
}

}  // namespace nestlock::tools
