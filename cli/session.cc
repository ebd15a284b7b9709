#include "cli/session.h"

#include "cli/json_value.h"
#include "rpc/json_writer.h"

namespace pollux::cli {
namespace {

std::string TextOf(const JsonValue& object, std::string_view name) {
  const JsonValue* member = object.Find(name);
  return member != nullptr ? member->text : std::string();
}

Answer ErrorAnswer(const JsonValue& error) {
  Answer answer;
  answer.code = TextOf(error, "code");
  answer.message = TextOf(error, "message");
  if (const JsonValue* data = error.Find("data")) {
    answer.field = TextOf(*data, "field");
    answer.value = TextOf(*data, "value");
    answer.reason = TextOf(*data, "reason");
  }
  return answer;
}

}  // namespace

Result<Answer> Session::Call(std::string_view method, std::string_view params) {
  if (!client_.has_value()) {
    ASSIGN_OR_RETURN(rpc::Client client, rpc::Client::Connect(socket_, timeout_ns_));
    client_.emplace(std::move(client));
  }
  const uint64_t id = ++last_id_;
  std::string request = R"({"jsonrpc":"2.0","id":)";
  rpc::AppendJsonInteger(request, id);
  request += R"(,"method":)";
  rpc::AppendJsonString(request, method);
  if (!params.empty()) request.append(R"(,"params":)").append(params);
  request += "}\n";
  RETURN_IF_ERROR(client_->Send(request, timeout_ns_));
  ASSIGN_OR_RETURN(const std::string text, client_->Receive(timeout_ns_));

  // Calls are in step, so that an answer is to the last one, or to none.
  rpc::JsonReader reader(text);
  if (reader.Peek() != rpc::JsonKind::kObject) return DataLoss("the answer is no object");
  std::string result, error, answered;
  std::string name;
  reader.EnterObject();
  while (reader.NextMember(name)) {
    const std::string_view value = reader.TakeText();
    if (name == "result") result = value;
    if (name == "error") error = value;
    if (name == "id") answered = value;
  }
  if (!error.empty()) return ErrorAnswer(ParseJson(error));
  if (answered != std::to_string(id)) return DataLoss("the answer is to another call");
  if (result.empty()) return DataLoss("the answer has neither result nor error");
  Answer answer;
  answer.ok = true;
  answer.result = std::move(result);
  return answer;
}

}  // namespace pollux::cli
