#pragma once
#include <google/protobuf/message.h>

#include "core/status.h"

// Protobuf's wire can say what JSON cannot, and what comes by gRPC is stored and shown as JSON.

namespace pollux::rpc {

// Makes a request what it could be by JSON, before Dispatcher::Complete. An enum's zero that stands
// for "absent" becomes absent. Fails, with the path, for text with a NUL, for a (raw_json) that is
// no JSON, for a number that is none or infinite, and for a list with an enum's "absent" in it.
Status HoldToJson(google::protobuf::Message& request);

// Takes out what is never answered: the (secret) fields, at any depth.
void RemoveSecrets(google::protobuf::Message& response);

}  // namespace pollux::rpc
