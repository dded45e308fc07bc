// One live migration in SimGrid, by its own plugin: two hosts, one link, one guest that computes without a pause.
//
//   g++ -std=c++17 -O1 precopy.cpp -lsimgrid -o precopy
//   ./precopy RAM_BYTES DIRTY_BYTES_PER_S WORKING_SET_BYTES LINK_BYTES_PER_S HORIZON_S
//
// Prints one JSON object; its times are null if the migration has not ended after HORIZON_S of virtual time.
// Bytes per second become SimGrid's flops: the guest computes at the host's speed, and the plugin dirties
// (migration speed x intensity / host speed) bytes for each of its flops, never more than the working set in a round.
#include <cstdio>
#include <cstdlib>
#include <simgrid/plugins/live_migration.h>
#include <simgrid/plugins/load.h>
#include <simgrid/s4u.hpp>
#include <simgrid/version.h>

namespace sg = simgrid::s4u;

namespace {
constexpr double SPEED_FLOPS = 1e9;
constexpr double BEGIN_S     = 1.0; // the guest's work has begun by then

struct Outcome {
  double total_s = -1, suspended_s = -1, downtime_s = -1, sent_bytes = -1;
};

void print(const Outcome& outcome, double max_downtime_s)
{
  int major = 0;
  int minor = 0;
  int patch = 0;
  sg_version_get(&major, &minor, &patch);
  std::printf("{\"simgrid\": \"%d.%d\", \"max_downtime_s\": %.6f, ", major, minor, max_downtime_s);
  if (outcome.total_s < 0)
    std::printf("\"total_time_s\": null, \"downtime_s\": null, \"sent_bytes\": null}\n");
  else
    std::printf("\"total_time_s\": %.9f, \"downtime_s\": %.9f, \"sent_bytes\": %.0f}\n", outcome.total_s,
                outcome.downtime_s, outcome.sent_bytes);
  std::fflush(stdout);
}
} // namespace

int main(int argc, char** argv)
{
  sg::Engine engine(&argc, argv);
  // The link carries what it is said to carry: no factors of a TCP model, no acknowledgements on the same link.
  sg::Engine::set_config("network/model:CM02");
  sg::Engine::set_config("network/crosstraffic:0");
  if (argc != 6) {
    std::fprintf(stderr, "usage: %s RAM_BYTES DIRTY_BYTES_PER_S WORKING_SET_BYTES LINK_BYTES_PER_S HORIZON_S\n", argv[0]);
    return 2;
  }
  const double ram_bytes         = std::atof(argv[1]);
  const double dirty_bps         = std::atof(argv[2]);
  const double working_set_bytes = std::atof(argv[3]);
  const double link_bps          = std::atof(argv[4]);
  const double horizon_s         = std::atof(argv[5]);
  if (!(ram_bytes >= 1 && dirty_bps >= 0 && working_set_bytes >= 0 && link_bps > 0 && horizon_s > 0)) {
    std::fprintf(stderr, "precopy: sizes, rates and the horizon must be positive numbers\n");
    return 2;
  }

  sg_vm_live_migration_plugin_init();
  sg_link_load_plugin_init();
  auto* zone        = sg::create_full_zone("world");
  auto* source      = zone->create_host("source", SPEED_FLOPS)->seal();
  auto* destination = zone->create_host("destination", SPEED_FLOPS)->seal();
  auto* link        = zone->create_link("link", link_bps)->set_latency(0)->seal();
  zone->add_route(source->get_netpoint(), destination->get_netpoint(), nullptr, nullptr, {sg::LinkInRoute(link)}, true);
  zone->seal();

  // The plugin's constructor takes whole MiB and percent, and a working set of 90 % of RAM; the setters are exact.
  auto* vm = sg_vm_create_migratable(source, "guest", 1, 1, 1, 0);
  vm->set_ramsize(static_cast<size_t>(ram_bytes));
  sg_vm_set_migration_speed(vm, link_bps);
  sg_vm_set_dirty_page_intensity(vm, dirty_bps / link_bps);
  sg_vm_set_working_set_memory(vm, static_cast<sg_size_t>(working_set_bytes));
  vm->start();

  Outcome outcome;
  sg::VirtualMachine::on_suspend_cb([&](const sg::VirtualMachine&) { outcome.suspended_s = sg::Engine::get_clock(); });
  sg::VirtualMachine::on_resume_cb(
      [&](const sg::VirtualMachine&) { outcome.downtime_s = sg::Engine::get_clock() - outcome.suspended_s; });
  sg::Actor::create("work", vm, [&] { sg::this_actor::execute(2 * SPEED_FLOPS * (BEGIN_S + horizon_s)); })->daemonize();
  sg::Actor::create("migration", source, [&] {
    sg::this_actor::sleep_for(BEGIN_S);
    sg_link_load_track(link);
    sg_vm_migrate(vm, destination);
    outcome.total_s    = sg::Engine::get_clock() - BEGIN_S;
    outcome.sent_bytes = sg_link_get_cum_load(link);
  });
  engine.run_until(BEGIN_S + horizon_s);
  print(outcome, sg_vm_get_max_downtime(vm));
  std::_Exit(0); // a migration that never ends cannot be taken down in order
}
