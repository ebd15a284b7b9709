#include "rpc/reference/openrpc.h"

#include <cerrno>
#include <limits>
#include <map>
#include <set>

#include "rpc/access_rules.h"
#include "rpc/error_map.h"
#include "rpc/json_codec.h"
#include "rpc/json_writer.h"

namespace pollux::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

// An object or array that is being written; members that are JSON already are given as text.
class JsonObject {
 public:
  JsonObject& Text(std::string_view name, std::string_view text) {
    Key(name);
    AppendJsonString(out_, text);
    return *this;
  }
  JsonObject& Json(std::string_view name, std::string_view json) {
    Key(name).append(json);
    return *this;
  }
  JsonObject& Flag(std::string_view name, bool flag) { return Json(name, flag ? "true" : "false"); }
  template <typename Integer>
  JsonObject& Number(std::string_view name, Integer number) {
    AppendJsonInteger(Key(name), number);
    return *this;
  }
  bool empty() const { return out_.size() == 1; }
  std::string End() { return std::move(out_ += '}'); }

 private:
  std::string& Key(std::string_view name) {
    if (!empty()) out_.push_back(',');
    AppendJsonString(out_, name);
    out_.push_back(':');
    return out_;
  }
  std::string out_ = "{";
};

std::string JsonArray(const std::vector<std::string>& elements) {
  std::string out = "[";
  for (const std::string& element : elements) out += (out.size() > 1 ? "," : "") + element;
  return out + "]";
}

// "pollux.v1.Portal" is "Portal"; what another package has keeps its full name.
std::string SchemaName(const Descriptor& type) {
  constexpr std::string_view kOurs = "pollux.v1.";
  const std::string& name = type.full_name();
  return name.starts_with(kOurs) ? name.substr(kOurs.size()) : name;
}

template <typename Integer>
std::string IntegerSchema() {
  using Limits = std::numeric_limits<Integer>;
  using Wide = std::conditional_t<std::is_signed_v<Integer>, int64_t, uint64_t>;
  return JsonObject()
      .Text("type", "integer")
      .Number("minimum", Wide{Limits::min()})
      .Number("maximum", Wide{Limits::max()})
      .End();
}

// The words that JSON has for the values; the value that stands for "absent" has none.
std::string EnumSchema(const EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 0; i < type.value_count(); ++i) {
    const std::string& word = JsonValueOf(*type.value(i));
    if (!word.empty()) words.push_back(QuoteJson(word));
  }
  return JsonObject().Text("type", "string").Json("enum", JsonArray(words)).End();
}

class OpenRpcWriter {
 public:
  explicit OpenRpcWriter(const Comments& comments) : comments_(comments) {}

  void AddMethod(const MethodDescriptor& method) {
    const v1::Rpc& options = method.options().GetExtension(v1::rpc);
    const std::string comment = comments_.Of(method);
    std::string summary = FirstSentence(comment);
    if (summary.ends_with('.')) summary.pop_back();
    const std::string grpc = "/" + method.service()->full_name() + "/" + method.name();
    methods_.push_back(
        JsonObject()
            .Text("name", options.name())
            .Text("summary", summary)
            .Text("description", comment)
            .Json("tags", JsonArray({JsonObject().Text("name", method.service()->name()).End()}))
            .Text("paramStructure", "by-name")
            .Json("params", Params(*method.input_type()))
            .Json("result", ResultOf(method, options))
            .Json("errors", Errors(options))
            .Flag("x-changes-configuration", options.changes())
            .Text("x-state", StateName(options.state()))
            .Text("x-role",
                  JsonValueOf(*v1::Role_descriptor()->FindValueByNumber(RoleFor(options))))
            .Text("x-grpc", grpc)
            .End());
  }

  void AddTag(const ServiceDescriptor& service) {
    tags_.push_back(
        JsonObject().Text("name", service.name()).Text("description", comments_.Of(service)).End());
  }

  std::string Document(std::string_view version) {
    // A message may have others that nobody has named before.
    JsonObject schemas;
    while (!todo_.empty()) {
      const auto [name, type] = *todo_.begin();
      todo_.erase(todo_.begin());
      schemas.Json(name, MessageSchema(*type));
    }
    const std::string info = JsonObject()
                                 .Text("title", "Pollux")
                                 .Text("version", version)
                                 .Text("description",
                                       "Parameters are named, 64-bit integers are numbers. An "
                                       "error has errno, field, value and reason in its data.")
                                 .End();
    return JsonObject()
        .Text("openrpc", "1.2.6")
        .Json("info", info)
        .Json("methods", JsonArray(methods_))
        .Json("components", JsonObject().Json("schemas", schemas.End()).End())
        .Json("x-services", JsonArray(tags_))
        .End();
  }

 private:
  static const char* StateName(v1::State state) {
    if (state == v1::STATE_ANY) return "any";
    return state == v1::STATE_STARTUP ? "startup" : "runtime";
  }

  std::string Params(const Descriptor& request) {
    std::vector<std::string> params;
    for (int i = 0; i < request.field_count(); ++i) {
      const FieldDescriptor& field = *request.field(i);
      params.push_back(JsonObject()
                           .Text("name", JsonKey(field))
                           .Text("description", comments_.Of(field))
                           .Flag("required", field.options().GetExtension(v1::required))
                           .Json("schema", FieldSchema(field, /*described=*/false))
                           .End());
    }
    return JsonArray(params);
  }

  std::string ResultOf(const MethodDescriptor& method, const v1::Rpc& options) {
    const Descriptor& response = *method.output_type();
    const FieldDescriptor* bare = response.FindFieldByName(options.bare());
    JsonObject result;
    result.Text("name", bare != nullptr ? JsonKey(*bare) : "result");
    if (bare != nullptr) {
      std::string schema = FieldSchema(*bare, /*described=*/false);
      if (bare->has_presence()) {  // Absent: null.
        schema = JsonObject().Json("anyOf", JsonArray({schema, R"({"type":"null"})"})).End();
      }
      result.Text("description", comments_.Of(*bare)).Json("schema", schema);
    } else {
      result.Json("schema", MessageSchema(response));
    }
    return result.End();
  }

  // The codes that a client may meet; a code of 0 stands for the negative errno.
  static std::string Errors(const v1::Rpc& options) {
    std::vector<std::string> errors;
    std::set<int32_t> told;
    const auto add = [&](int32_t code, const char* message) {
      if (code == 0 || !told.insert(code).second) return;
      errors.push_back(JsonObject().Number("code", int64_t{code}).Text("message", message).End());
    };
    add(options.decode_error(), "The parameters are not what the method takes");
    add(options.field_error(), "The value of a parameter is refused");
    add(options.failure(), "The operation failed");
    if (options.failure() == 0) {
      constexpr char kAnyErrno[] = "The operation failed: the code is the negative errno";
      add(told.contains(-EINVAL) ? -EIO : -EINVAL, kAnyErrno);
    }
    add(kAccessDenied, "The caller may not call the method");
    if (options.state() != v1::STATE_ANY) add(-1, "The method may not be called in this state");
    return JsonArray(errors);
  }

  std::string MessageSchema(const Descriptor& type) {
    JsonObject properties;
    std::vector<std::string> required;
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      properties.Json(JsonKey(field), FieldSchema(field, /*described=*/true));
      if (field.options().GetExtension(v1::required)) required.push_back(QuoteJson(JsonKey(field)));
    }
    JsonObject schema;
    schema.Text("type", "object");
    if (const std::string comment = comments_.Of(type); !comment.empty()) {
      schema.Text("description", comment);
    }
    schema.Json("properties", properties.End());
    if (!required.empty()) schema.Json("required", JsonArray(required));
    return schema.End();
  }

  std::string FieldSchema(const FieldDescriptor& field, bool described) {
    std::string value;
    if (!field.is_map()) {
      value = ValueSchema(field);
    } else {
      value = JsonObject()
                  .Text("type", "object")
                  .Json("additionalProperties", ValueSchema(*field.message_type()->field(1)))
                  .End();
    }
    if (field.is_repeated() && !field.is_map()) {
      value = JsonObject().Text("type", "array").Json("items", value).End();
    }
    const auto& options = field.options();
    JsonObject more;
    if (described) more.Text("description", comments_.Of(field));
    if (options.HasExtension(v1::default_)) {
      more.Json("default", options.GetExtension(v1::default_));
    }
    if (const std::string& range = options.GetExtension(v1::range); !range.empty()) {
      more.Text("x-range", range);
    }
    if (const std::string& unit = options.GetExtension(v1::unit); !unit.empty()) {
      more.Text("x-unit", unit);
    }
    if (options.GetExtension(v1::secret)) more.Flag("writeOnly", true);
    if (more.empty()) return value;
    // What stands beside $ref is ignored, in JSON Schema 7.
    if (value.starts_with(R"({"$ref")")) {
      return more.Json("allOf", JsonArray({value})).End();
    }
    const std::string facts = more.End();
    if (value == "{}") return facts;
    return value.substr(0, value.size() - 1) + "," + facts.substr(1);
  }

  // Of one value, also where the field has many.
  std::string ValueSchema(const FieldDescriptor& field) {
    if (field.options().GetExtension(v1::raw_json)) return "{}";  // Anything.
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        return R"({"type":"boolean"})";
      case FieldDescriptor::CPPTYPE_INT32:
        return IntegerSchema<int32_t>();
      case FieldDescriptor::CPPTYPE_INT64:
        return IntegerSchema<int64_t>();
      case FieldDescriptor::CPPTYPE_UINT32:
        return IntegerSchema<uint32_t>();
      case FieldDescriptor::CPPTYPE_UINT64:
        return IntegerSchema<uint64_t>();
      case FieldDescriptor::CPPTYPE_DOUBLE:
      case FieldDescriptor::CPPTYPE_FLOAT:
        return R"({"type":"number"})";
      case FieldDescriptor::CPPTYPE_STRING:
        return R"({"type":"string"})";
      case FieldDescriptor::CPPTYPE_ENUM:
        return EnumSchema(*field.enum_type());
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Reference(*field.message_type());
    }
    return "{}";
  }

  std::string Reference(const Descriptor& type) {
    const std::string name = SchemaName(type);
    if (named_.insert(name).second) todo_.emplace(name, &type);
    return JsonObject().Text("$ref", "#/components/schemas/" + name).End();
  }

  const Comments& comments_;
  std::vector<std::string> methods_, tags_;
  std::set<std::string> named_;
  std::map<std::string, const Descriptor*> todo_;
};

}  // namespace

std::string OpenRpcDocument(const std::vector<const ServiceDescriptor*>& services,
                            const Comments& comments, std::string_view version) {
  OpenRpcWriter writer(comments);
  for (const ServiceDescriptor* service : services) {
    bool has_methods = false;
    for (int i = 0; i < service->method_count(); ++i) {
      const MethodDescriptor& method = *service->method(i);
      if (!method.options().HasExtension(v1::rpc)) continue;
      writer.AddMethod(method);
      has_methods = true;
    }
    if (has_methods) writer.AddTag(*service);
  }
  return writer.Document(version);
}

}  // namespace pollux::rpc
