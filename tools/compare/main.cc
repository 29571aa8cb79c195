// The answers to the list's question, side by side: ./nest compare.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/compare/measured.h"
#include "tools/compare/users_policy.h"
#include "tools/shared/interrupts.h"
#include "tools/shared/json_text.h"
#include "tools/shared/table.h"

namespace nestlock::tools {
namespace {

constexpr const char* kHelp =
    R"(The page and slab allocators on each lock that was proposed, on one CPU, in one table.

usage: ./nest compare [--lock=FILE] [--only=NAME] [--json[=FILE]]

  --lock=FILE   with a lock of your own besides: see tools/compare/example_lock.h
  --only=NAME   the lock of this name only
  --json        the figures for programs; =FILE: into FILE, besides the table
  --help        this

Exit status: 0 all is as known, and your lock keeps the promise; 1 not so; 2 it could not be tried.
)";

[[noreturn]] void refuse(const std::string& why) {
  std::fprintf(stderr, "compare: %s; --help says more\n", why.c_str());
  std::exit(2);
}

struct Options {
  std::string only{};  // empty: all
  JsonOption json{};
};

Options read(int argc, char** argv) {
  constexpr std::string_view kOnly = "--only=";
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view a = argv[i];
    if (a == "--help" || a == "-h") {
      std::printf("%s", kHelp);
      std::exit(0);
    } else if (a.substr(0, kOnly.size()) == kOnly) {
      o.only = a.substr(kOnly.size());
      if (o.only.empty()) refuse("--only= wants the name of a lock");
    } else if (o.json.take(a)) {
      if (!o.json.error().empty()) refuse(o.json.error());
    } else {
      refuse("unknown argument '" + std::string(a) + "'");
    }
  }
  return o;
}

// Those that are wanted, and whether they are the user's.
std::vector<std::pair<Policy, bool>> wanted(const Options& options) {
  std::vector<std::pair<Policy, bool>> some;
  std::string names;
  const auto take = [&](const Policy& p, bool users) {
    names += (names.empty() ? "'" : ", '") + std::string(p.name) + "'";
    if (options.only.empty() || options.only == p.name) some.emplace_back(p, users);
  };
  for (const Policy& p : policies()) take(p, false);
  if (const auto mine = users_policy()) take(*mine, true);
  if (some.empty()) refuse("no lock '" + options.only + "' among " + names);
  return some;
}

Text number(std::uint64_t n) { return {std::to_string(n), Ink::plain, true}; }
Text served(const Nested& n) {
  return {std::to_string(n.served) + "/" + std::to_string(n.asked),
          n.served ? Ink::plain : Ink::red, true};
}
Text twice(const Nested& n) {
  std::string text = std::to_string(n.twice + n.damaged);
  if (n.crashed) text += "+" + std::to_string(n.crashed);
  return {text, n.sound() ? Ink::green : Ink::red, true};
}

Table table_of(const std::vector<Measured>& all) {
  Table t;
  const auto right = [](const char* text) { return Text{text, Ink::bold, true}; };
  t.line({{},
          {},
          {},
          {},
          {"try_lock()", Ink::bold},
          {},
          {},
          {},
          {"pages", Ink::bold},
          {},
          {},
          {"kmalloc", Ink::bold}});
  t.row({{"lock", Ink::bold},
         right("state"),
         right("text"),
         right("pair"),
         {},
         {"HELD", Ink::bold},
         {"free", Ink::bold},
         {},
         right("served"),
         right("twice"),
         {},
         right("served"),
         right("twice")});
  for (const Measured& m : all) {
    for (unsigned i = 0; i < 3; ++i) {
      const Column& c = m.by[i];
      std::vector<Text> row(4);
      if (i == 0)
        row = {{m.name, m.keeps_the_promise() ? Ink::green : Ink::plain},
               number(m.lock_bytes),
               number(m.text_bytes),
               number(m.pair_instructions)};
      row.push_back({kInterruptionNames[i]});
      row.push_back({name_of_held(c.held), c.held == Answer::granted ? Ink::red : Ink::plain});
      row.push_back({name_of_free(c.free), c.free == Answer::granted ? Ink::plain : Ink::red});
      row.emplace_back();
      row.push_back(served(c.pages)), row.push_back(twice(c.pages));
      row.emplace_back();
      row.push_back(served(c.objects)), row.push_back(twice(c.objects));
      t.row(std::move(row));
    }
  }
  return t;
}

void print(const std::vector<Measured>& all, const Painter& paint) {
  std::printf(
      "%s\n\n%s\n",
      paint("The page and slab allocators on each lock that was proposed, one CPU", Ink::bold)
          .c_str(),
      table_of(all).print(paint).c_str());
  std::printf("%s", paint("state   bytes of all locks of both allocators (" +
                              std::to_string(all.back().locks) +
                              " locks; one CPU, one node)\n"
                              R"(text    bytes of machine code of both allocators
pair    instructions of an undisturbed kmalloc(64) + kfree(); a locked one counts as one
HELD    whether a handler gets the lock that the interrupted code holds: TAKEN is a second owner;
        masked: irqs are off then. free: whether it gets the lock while it is free
served  nested allocations of those asked for, one or two after each instruction of the code
twice   instructions after which memory had two owners or was lost; +n: the process died
)",
                          Ink::dim)
                        .c_str());
  std::printf("\n");
  for (const std::string& line : meaning(all)) std::printf("%s\n", line.c_str());
}

std::string to_json(const Nested& n) {
  return "{\"instructions\": " + std::to_string(n.instructions) +
         ", \"nested_asked\": " + std::to_string(n.asked) +
         ", \"nested_served\": " + std::to_string(n.served) +
         ", \"found_a_lock_held\": " + std::to_string(n.busy) +
         ", \"handed_out_twice\": " + std::to_string(n.twice) +
         ", \"damaged\": " + std::to_string(n.damaged) +
         ", \"crashed\": " + std::to_string(n.crashed) + "}";
}

std::string to_json(const std::vector<Measured>& all, bool pass) {
  std::string out = "{\n  \"pass\": " + truth(pass) + ",\n  \"locks\": [";
  const char* comma = "\n";
  for (const Measured& m : all) {
    out += std::string(comma) + "    {\"name\": " + quoted(m.name) +
           ", \"users\": " + truth(m.users) + ", \"locks\": " + std::to_string(m.locks) +
           ", \"lock_bytes\": " + std::to_string(m.lock_bytes) +
           ", \"text_bytes\": " + std::to_string(m.text_bytes) +
           ", \"pair_instructions\": " + std::to_string(m.pair_instructions) +
           ", \"keeps_the_promise\": " + truth(m.keeps_the_promise()) + ", \"by\": [";
    for (unsigned i = 0; i < 3; ++i) {
      const Column& c = m.by[i];
      out += std::string(i ? ",\n" : "\n") +
             "      {\"interruption\": " + quoted(kInterruptionNames[i]) +
             ", \"held\": " + quoted(name_of_held(c.held)) +
             ", \"free\": " + quoted(name_of_free(c.free)) +
             ", \"as_known\": " + truth(c.unlike_known.empty()) +
             ",\n       \"pages\": " + to_json(c.pages) +
             ",\n       \"objects\": " + to_json(c.objects) + "}";
    }
    out += "\n    ]}";
    comma = ",\n";
  }
  return out + "\n  ]\n}\n";
}

int compare(Options options) {
  const auto locks = wanted(options);
  const char* why = set_up_interrupts();
  if (!why) why = why_no_probes();
  if (why) {
    std::fprintf(stderr, "compare: it cannot be tried here: %s\n", why);
    return 2;
  }
  const char* const no_colour = std::getenv("NO_COLOR");
  const Painter paint(isatty(STDOUT_FILENO) && !(no_colour && *no_colour));
  std::vector<Measured> all;
  for (const auto& [policy, users] : locks) all.push_back(measure(policy, users));

  bool pass = true;
  for (const Measured& m : all)
    for (const Column& c : m.by) pass &= c.unlike_known.empty();
  if (options.json.wanted() && !options.json.write(to_json(all, pass))) {
    std::fprintf(stderr, "compare: the figures could not be written\n");
    return 2;
  }
  if (options.json.instead_of_tables()) return pass ? 0 : 1;
  print(all, paint);
  for (const Measured& m : all)
    for (unsigned i = 0; i < 3; ++i)
      if (!m.by[i].unlike_known.empty())
        std::printf("%s  %s, %s: %s\n", paint("FAIL", Ink::red).c_str(), m.name,
                    kInterruptionNames[i], m.by[i].unlike_known.c_str());
  return pass ? 0 : 1;
}

}  // namespace
}  // namespace nestlock::tools

int main(int argc, char** argv) {
  return nestlock::tools::compare(nestlock::tools::read(argc, argv));
}
