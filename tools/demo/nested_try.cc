// Every lock x configuration x {softirq, irq, NMI, probe}: the try is run, while the interrupted
// code holds the lock and while it is free, and compared with contexts.h.
#include "nested_try.h"

#include <algorithm>

namespace nestlock::demo {
namespace {

using contexts::Answer;

Answer answer_to(const Subject& s, bool debug, Context c) {
  Config config = s.config;
  config.debug = debug;
  return contexts::cell(s.type, contexts::Call::try_lock, config, c).held;
}

Promise promise_of(const Subject& s, Context c) {
  const contexts::Cell cell = contexts::cell(s.type, contexts::Call::try_lock, s.config, c);
  if (!cell.allowed) return {false, Answer::refused, Answer::refused, false};
  // A probe is in the task, where debug takes the try for the holder's own.
  const bool reports = s.config.debug && c != Context::task &&
                       answer_to(s, false, c) == Answer::granted && cell.held == Answer::refused;
  return {true, cell.held, cell.free, reports};
}

const char* word(Answer a) { return a == Answer::granted ? "granted" : "refused"; }

std::string fraction(const Answers& a) {
  return std::to_string(a.granted) + " of " + std::to_string(a.asked) + " granted";
}

// Whether debug configurations reported what they should, and nothing else.
bool reported_well(const Subject& s, const Asked& m, const Promise& p) {
  const bool forbidden = s.config.debug && !p.allowed;
  if (m.findings.wrong_context != (forbidden ? m.held.asked + m.free.asked : 0)) return false;
  if (p.reports_held) return m.findings.not_promised == m.held.asked;
  // A plain lock that sleeps may be reported where it does tell the truth.
  return m.findings.not_promised == 0 || (s.config.preempt_rt && !contexts::promised(s.type));
}

// Why it is not as promised; empty if it is.
std::string verdict(const Subject& s, const Asked& m, const Promise& p) {
  if (m.trouble) return m.trouble;
  if (m.interruptions == 0) return "nothing was interrupted";
  if (m.handlers != m.interruptions) return "the handler did not run at each interruption";
  if (m.held.asked == 0) return "no handler found the lock held";
  if (m.free.asked == 0) return "no handler found the lock free";
  if (m.elsewhere) return "the handler ran in another context";
  if (m.code_refused) return "the interrupted code did not get its own lock";
  if (!m.held.are(p.held)) return std::string("a try of the held lock must be ") + word(p.held);
  if (!m.free.are(p.free)) return std::string("a try of the free lock must be ") + word(p.free);
  if (m.altered) return "a refusal changed the lock";
  if (m.findings.others) return std::string("reported: ") + name_of(m.findings.other);
  if (!reported_well(s, m, p)) return "debug did not report the right tries";
  return {};
}

}  // namespace

Entry try_nested(const Subject& s, std::size_t column) {
  const Context c = kColumns[column];
  const Name name = name_of(s);
  now_trying(name.text);
  Entry e{column == kProbe ? ask_by_probes(s) : ask_by_signals(s, c), promise_of(s, c)};
  e.asked.findings = findings();
  e.ok = verdict(s, e.asked, e.promise).empty();
  return e;
}

Cell cell_of(const Subject& s, std::size_t column, const Entry& e) {
  constexpr const char* kNames[] = {"softirq", "irq", "nmi", "probe"};
  const Asked& m = e.asked;
  Cell c;
  c.name = std::string(name_of(s).text) + ": " + kNames[column];
  c.value = "held: " + fraction(m.held) + "; free: " + fraction(m.free);
  c.promised = std::string("held: ") + word(e.promise.held) + "; free: " + word(e.promise.free);
  if (!e.promise.allowed) c.promised += " (the call is not allowed here)";
  c.ok = e.ok;
  c.bug = e.promise.blind();
  c.why = verdict(s, m, e.promise);
  c.figures = {{"bytes", s.bytes},
               {"bytes_for_all", s.shared_bytes},
               {"held_asked", m.held.asked},
               {"held_granted", m.held.granted},
               {"free_asked", m.free.asked},
               {"free_granted", m.free.granted},
               {"asked_inside_lock_or_unlock", m.either},
               {"interruptions", m.interruptions},
               {"handlers", m.handlers},
               {"reported", m.findings.not_promised + m.findings.wrong_context}};
  return c;
}

}  // namespace nestlock::demo
