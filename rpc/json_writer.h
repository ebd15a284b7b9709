#pragma once
#include <cstdint>
#include <string>
#include <string_view>

// Pieces of JSON text, appended to a string. Objects and arrays are written by whoever knows their
// members.

namespace pollux::rpc {

// With quotes. Bytes that are not UTF-8 become U+FFFD: what a device calls itself may be anything,
// and an answer must stay JSON.
void AppendJsonString(std::string& out, std::string_view text);
void AppendJsonInteger(std::string& out, int64_t value);
void AppendJsonInteger(std::string& out, uint64_t value);
// The shortest text that reads back as the same number; null for what JSON cannot write.
void AppendJsonDouble(std::string& out, double value);
void AppendJsonFloat(std::string& out, float value);
void AppendUtf8(std::string& out, unsigned code_point);

}  // namespace pollux::rpc
