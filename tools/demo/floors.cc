// What a lock costs the allocators that stand on it: the page and slab floors on each of the six
// lock policies, with a nested allocation after each instruction.
#include "tools/shared/floors.h"

#include "section.h"

namespace nestlock::demo {
namespace {

// The policies are proposals for one CPU.
constexpr Config kConfig = configs::up;

Cell cell_of(const char* what, const Policy& p, unsigned by, const Nested& n) {
  Cell c;
  c.name = std::string(what) + " on " + p.name + ": " + kInterruptionNames[by];
  c.value = std::to_string(n.twice) + " of " + std::to_string(n.instructions) +
            " handed out twice, " + std::to_string(n.crashed) + " crashed, " +
            std::to_string(n.served) + " of " + std::to_string(n.asked) + " served";
  c.bug = p.corrupts[by];
  c.promised = c.bug           ? "handed out twice: the historic bug"
               : p.refuses[by] ? "never handed out twice, nothing served"
                               : "never handed out twice, 3 in 4 served or more";
  c.why = why_unlike_known(n, p, by);
  c.ok = c.why.empty();
  c.figures = {{"instructions", n.instructions},
               {"nested_asked", n.asked},
               {"nested_served", n.served},
               {"found_a_lock_held", n.busy},
               {"handed_out_twice", n.twice},
               {"damaged", n.damaged},
               {"crashed", n.crashed}};
  return c;
}

Text twice_text(const Nested& n, bool ok) {
  std::string text = std::to_string(n.twice);
  if (n.crashed) text += "+" + std::to_string(n.crashed);
  return {text, !n.sound() || !ok ? Ink::red : Ink::green, true};
}

Section on_each_policy(const Options& options, const char* name, const char* what,
                       const FloorRun Policy::* run) {
  Section out;
  out.name = name;
  if (!options.wanted(kConfig)) return out;
  if (const char* const why = why_no_probes()) {
    out.not_tried = why;
    return out;
  }
  const auto bold = [](const char* text) { return Text{text, Ink::bold, true}; };
  out.table.line(
      {{}, {"irq", Ink::bold}, {}, {}, {"NMI", Ink::bold}, {}, {}, {"probe", Ink::bold}});
  std::vector<Text> head{{"lock", Ink::bold}};
  for (unsigned i = 0; i < 3; ++i)
    for (const Text& t : {bold("served"), bold("twice"), Text{}}) head.push_back(t);
  out.table.row(std::move(head));
  std::uint64_t found_held = 0;
  for (const Policy& p : policies()) {
    std::vector<Text> row{{p.name}};
    for (unsigned i = 0; i < 3; ++i) {
      now_trying(p.name);
      const Nested n = interrupt_everywhere(p.*run, kInterruptions[i]);
      out.cells.push_back(cell_of(what, p, i, n));
      row.push_back({std::to_string(n.served) + "/" + std::to_string(n.asked),
                     p.refuses[i] ? Ink::red : Ink::plain, true});
      row.push_back(twice_text(n, out.cells.back().ok));
      row.emplace_back();
      if (!p.corrupts[i]) found_held += n.busy;
    }
    out.table.row(std::move(row));
  }
  out.cells.push_back({.name = std::string(what) + ": handlers that found a lock held",
                       .value = std::to_string(found_held),
                       .promised = "more than none",
                       .ok = found_held != 0,
                       .why = "no handler ever found a lock held"});
  return out;
}

}  // namespace

Section nested_pages(const Options& options) {
  Section s = on_each_policy(options, "nested_pages", "pages", &Policy::pages);
  s.heading = {
      "What it costs: the page allocator on each lock that was proposed, one CPU (up)", "",
      "The code takes a page from this CPU's list and 4 in a block from the zone, and gives "
      "a page back;",
      "after each of its instructions in turn an interruption takes as much, too, and keeps "
      "it."};
  return s;
}

Section nested_objects(const Options& options) {
  Section s = on_each_policy(options, "nested_objects", "objects", &Policy::objects);
  s.heading = {
      "... and the slab allocator on the same", "",
      "The code calls kmalloc() for 512 bytes twice (the first call fills this CPU's cache) "
      "and kfree();",
      "after each of its instructions in turn an interruption calls kmalloc_nolock() and "
      "keeps it."};
  if (s.cells.empty()) return s;
  s.legend = {
      "served  nested allocations, of those asked for. What is refused found the locks held",
      "twice   instructions after which a page or an object had two owners; +n: and n where the "
      "damage",
      "        ended the process"};
  return s;
}

}  // namespace nestlock::demo
