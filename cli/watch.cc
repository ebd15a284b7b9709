#include "cli/watch.h"

#include <charconv>
#include <ctime>

#include "absl/strings/str_format.h"
#include "cli/json_value.h"
#include "cli/method_names.h"
#include "cli/report.h"
#include "rpc/json_reader.h"

namespace pollux::cli {
namespace {

std::string TimeOfDay() {
  const std::time_t now = std::time(nullptr);
  std::tm local;
  localtime_r(&now, &local);
  return absl::StrFormat("%02d:%02d:%02d", local.tm_hour, local.tm_min, local.tm_sec);
}

std::string TextOf(const JsonValue& event, std::string_view name) {
  const JsonValue* member = event.Find(name);
  return member == nullptr ? std::string() : member->text;
}

class Watcher {
 public:
  Watcher(Session& session, bool json, std::ostream& out, std::ostream& err)
      : session_(session), json_(json), out_(out), err_(err) {}

  // Asks for events from the next one on, and shows them when they are news.
  ExitCode Ask(const std::string& params, bool show) {
    const Result<Answer> answer = session_.Call(kGetNotifications, params);
    if (!answer.ok()) {
      err_ << "pollux: " << answer.status().message() << "\n";
      return kNoConnection;
    }
    if (!answer->ok) {
      ShowRefusal(err_, kGetNotifications, *answer);
      return kRefused;
    }
    rpc::JsonReader reader(answer->result);
    reader.EnterArray();
    while (reader.NextElement()) {
      const std::string text(reader.TakeText());
      const JsonValue event = ParseJson(text);
      uint64_t id = 0;
      const std::string number = TextOf(event, "id");
      std::from_chars(number.data(), number.data() + number.size(), id);
      if (show) Show(event, id, text);
      next_ = id + 1;
    }
    return kDone;
  }
  uint64_t next() const { return next_; }

 private:
  void Show(const JsonValue& event, uint64_t id, const std::string& text) {
    if (id > next_) err_ << "pollux: " << id - next_ << " events are lost\n";
    if (json_) {
      out_ << text << "\n";
    } else {
      out_ << TimeOfDay() << "  " << TextOf(event, "type") << "  " << TextOf(event, "ctx") << "\n";
    }
  }

  Session& session_;
  const bool json_;
  std::ostream& out_;
  std::ostream& err_;
  uint64_t next_ = 0;
};

}  // namespace

ExitCode Watch(Session& session, bool json, uint64_t wait_ms, std::ostream& out,
               std::ostream& err) {
  Watcher watcher(session, json, out, err);
  ExitCode code = watcher.Ask("", /*show=*/false);  // What happened before is not asked for.
  while (code == kDone && out) {
    code = watcher.Ask(absl::StrFormat(R"({"id":%u,"wait_ms":%u})", watcher.next(), wait_ms),
                       /*show=*/true);
    out.flush();
  }
  return out ? code : kDone;
}

}  // namespace pollux::cli
