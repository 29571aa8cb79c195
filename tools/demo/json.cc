#include "json.h"

#include "tools/shared/json_text.h"

namespace nestlock::demo {
namespace {

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
