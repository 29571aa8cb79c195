#include "json.h"

#include <cstdio>

namespace nestlock::demo {
namespace {

std::string quoted(const std::string& s) {
  std::string out = "\"";
  for (const char c : s) {
    if (c == '"' || c == '\\') {
      out += '\\', out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string truth(bool b) { return b ? "true" : "false"; }

std::string to_json(const Cell& c) {
  std::string out = "{\"name\": " + quoted(c.name) + ", \"value\": " + quoted(c.value) +
                    ", \"promised\": " + quoted(c.promised) + ", \"ok\": " + truth(c.ok) +
                    ", \"historic_bug\": " + truth(c.bug);
  if (!c.ok) out += ", \"why\": " + quoted(c.why);
  for (const auto& [name, figure] : c.figures)
    out += ", " + quoted(name) + ": " + std::to_string(figure);
  return out + "}";
}

}  // namespace

std::string to_json(const std::vector<Section>& sections, bool pass) {
  std::string out = "{\n  \"pass\": " + truth(pass) + ",\n  \"sections\": [";
  const char* comma = "\n";
  for (const Section& s : sections) {
    out += std::string(comma) + "    {\"name\": " + quoted(s.name) +
           ", \"not_tried\": " + (s.not_tried.empty() ? "null" : quoted(s.not_tried)) +
           ", \"cells\": [";
    const char* inner = "\n";
    for (const Cell& c : s.cells) out += inner + ("      " + to_json(c)), inner = ",\n";
    out += s.cells.empty() ? "]}" : "\n    ]}";
    comma = ",\n";
  }
  return out + "\n  ]\n}\n";
}

}  // namespace nestlock::demo
