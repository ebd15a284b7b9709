#include "service/thread_handlers.h"

#include "core/run_on.h"
#include "service/appliance.h"
#include "service/threads.h"

namespace pollux::service {
namespace {

// What only the loop's own thread may look at.
struct LoopWork {
  std::vector<PollerInfo> pollers;
  size_t timers = 0;
};

struct LoopOf {
  Loop* loop;
  uint64_t id;
};

std::vector<LoopOf> AllLoops(Appliance& appliance) {
  std::vector<LoopOf> loops = {{&appliance.control(), kControlThreadId}};
  for (auto& reactor : appliance.reactors()) {
    loops.push_back({reactor.get(), ThreadIdOfReactor(reactor->index())});
  }
  return loops;
}

Task<LoopWork> WorkOf(Loop& loop) {
  auto look = [&loop] { return LoopWork{loop.pollers(), loop.timer_count()}; };
  co_return co_await RunOn(loop, look);
}

}  // namespace

void ThreadHandlers::Bind(rpc::Dispatcher& dispatcher) {
  dispatcher.Bind("thread_get_stats", this, &ThreadHandlers::GetStats);
  dispatcher.Bind("thread_get_pollers", this, &ThreadHandlers::GetPollers);
  dispatcher.Bind("thread_get_io_channels", this, &ThreadHandlers::GetIoChannels);
}

Task<Result<v1::ThreadGetStatsResponse>> ThreadHandlers::GetStats(v1::ThreadGetStatsRequest) {
  v1::ThreadGetStatsResponse response;
  response.set_tick_rate(kNsPerSecond);
  for (const LoopOf& entry : AllLoops(appliance_)) {
    const LoopWork work = co_await WorkOf(*entry.loop);
    v1::ThreadStats* thread = response.add_threads();
    thread->set_name(entry.loop->name());
    thread->set_id(entry.id);
    thread->set_cpumask(CpumaskOf(*entry.loop));
    thread->set_busy(entry.loop->busy_ns());
    thread->set_idle(entry.loop->idle_ns());
    thread->set_active_pollers_count(work.pollers.size());
    thread->set_timed_pollers_count(work.timers);
    thread->set_paused_pollers_count(0);
  }
  co_return response;
}

Task<Result<v1::ThreadGetPollersResponse>> ThreadHandlers::GetPollers(v1::ThreadGetPollersRequest) {
  v1::ThreadGetPollersResponse response;
  response.set_tick_rate(kNsPerSecond);
  for (const LoopOf& entry : AllLoops(appliance_)) {
    const LoopWork work = co_await WorkOf(*entry.loop);
    v1::ThreadPollers* thread = response.add_threads();
    thread->set_name(entry.loop->name());
    thread->set_id(entry.id);
    for (const PollerInfo& poller : work.pollers) {
      v1::PollerStats* stats = thread->add_active_pollers();
      stats->set_name(poller.name);
      stats->set_id(poller.id);
      stats->set_state("waiting");
      stats->set_run_count(poller.run_count);
      stats->set_busy_count(poller.busy_count);
    }
  }
  co_return response;
}

Task<Result<v1::ThreadGetIoChannelsResponse>> ThreadHandlers::GetIoChannels(
    v1::ThreadGetIoChannelsRequest) {
  v1::ThreadGetIoChannelsResponse response;
  response.set_tick_rate(kNsPerSecond);
  for (const LoopOf& entry : AllLoops(appliance_)) {
    v1::ThreadIoChannels* thread = response.add_threads();
    thread->set_name(entry.loop->name());
    if (entry.id == kControlThreadId) continue;  // I/O is the reactors' affair.
    for (BlockDevice* device : appliance_.devices().devices()) {
      v1::IoChannel* channel = thread->add_io_channels();
      channel->set_name("bdev_" + device->name());
      channel->set_ref(static_cast<uint32_t>(device->users().size()));
    }
  }
  co_return response;
}

}  // namespace pollux::service
