#pragma once

// The methods by which the commands that are none (save, load, watch, ...) do their work. Nothing
// else of the command line names a method.

namespace pollux::cli {

inline constexpr char kGetSubsystems[] = "framework_get_subsystems";
inline constexpr char kGetConfig[] = "framework_get_config";
inline constexpr char kGetMethods[] = "rpc_get_methods";
inline constexpr char kStartInit[] = "framework_start_init";
inline constexpr char kGetNotifications[] = "notify_get_notifications";
inline constexpr char kGetDevices[] = "bdev_get_bdevs";

}  // namespace pollux::cli
