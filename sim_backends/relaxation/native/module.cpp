// Python face of the compiled relaxation engine: checks nothing but sizes it relies on; see
// native_engine.py for the typed, validated class.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "symbolic.hpp"
#include "view.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace eqp {

#define EQP_DECLARE(NS)                   \
  namespace NS {                          \
  extern const Kernels kernels;           \
  }                                       \
  namespace NS##_single {                 \
  extern const FlowKernels flow_kernels;  \
  }
EQP_DECLARE(baseline)
#if defined(EQP_X86_VARIANTS)
EQP_DECLARE(avx2)
EQP_DECLARE(avx512)
EQP_DECLARE(avx512_half)
#endif

namespace {

// An instruction set: the table for full blocks, and one of half the width for batches that
// would leave a full block half empty. Widths do not change results.
struct Isa {
  const char* name;
  const Kernels* wide;
  const Kernels* narrow;
  const FlowKernels* single_wide;
  const FlowKernels* single_narrow;
};

std::vector<Isa> usable_isas() {
  std::vector<Isa> result;
#if defined(EQP_X86_VARIANTS)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma"))
    result.push_back({"avx512", &avx512::kernels, &avx512_half::kernels,
                      &avx512_single::flow_kernels, &avx512_half_single::flow_kernels});
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    result.push_back({"avx2", &avx2::kernels, &avx2::kernels, &avx2_single::flow_kernels,
                      &avx2_single::flow_kernels});
#endif
  result.push_back({"baseline", &baseline::kernels, &baseline::kernels,
                    &baseline_single::flow_kernels, &baseline_single::flow_kernels});
  return result;
}

using Doubles = nb::ndarray<const double, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<double, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<std::uint8_t, nb::c_contig, nb::device::cpu>;
using Longs = nb::ndarray<std::int64_t, nb::c_contig, nb::device::cpu>;

void expect(bool good, const char* what) {
  if (!good) throw std::invalid_argument(std::string("wrong size: ") + what);
}

// 64-byte aligned memory.
class Memory {
 public:
  explicit Memory(std::int64_t doubles)
      : raw_(new double[static_cast<std::size_t>(doubles) + 8]) {}
  double* data() const {
    auto address = reinterpret_cast<std::uintptr_t>(raw_.get());
    return reinterpret_cast<double*>((address + 63) & ~std::uintptr_t(63));
  }

 private:
  std::unique_ptr<double[]> raw_;
};

// Runs work(memory) in `threads` threads, the caller's among them.
void run_threads(int threads, std::int64_t doubles, const std::function<void(double*)>& work) {
  std::vector<std::unique_ptr<Memory>> memory;
  for (int k = 0; k < threads; ++k) memory.push_back(std::make_unique<Memory>(doubles));
  std::vector<std::thread> helpers;
  for (int k = 1; k < threads; ++k) {
    try {
      helpers.emplace_back(work, memory[k]->data());
    } catch (const std::system_error&) {
      break;  // no more threads to be had: the rest of the work falls to the others
    }
  }
  work(memory[0]->data());
  for (auto& helper : helpers) helper.join();
}

// Hands out the samples of a batch, one by one, to all threads.
class Queue {
 public:
  explicit Queue(std::int64_t batch) : batch_(batch) {}
  static std::int64_t pop(void* data) {
    auto* queue = static_cast<Queue*>(data);
    const std::int64_t sample = queue->next_.fetch_add(1);
    return sample < queue->batch_ ? sample : -1;
  }

 private:
  std::atomic<std::int64_t> next_{0};
  std::int64_t batch_;
};

class Engine {
 public:
  Engine(int n, const nb::ndarray<const std::int64_t, nb::c_contig, nb::device::cpu>& edges,
         const std::string& isa)
      : symbolic_(n, pairs(n, edges)) {
    bool found = false;
    for (const Isa& candidate : usable_isas()) {
      if (!found && (isa.empty() || isa == candidate.name)) {
        isa_ = candidate;
        found = true;
      }
    }
    if (!found) throw std::invalid_argument("this processor has no '" + isa + "' kernels");
    n_ = n;
    n_bonds_ = symbolic_.view().n_bonds;
  }

  void relax(const Doubles& coupling, const Doubles& field, const Doubles& start,
             const nb::dict& options, bool follow, bool tried, int threads, const Output& phases,
             const Bytes& status, const Output& residual, const Bytes& positive_definite,
             const Bytes& certified, const Longs& steps, const Longs& rejected,
             const Longs& factorisations) const {
    const auto batch = static_cast<std::int64_t>(status.size());
    expect_state(coupling, field, start, batch);
    expect(phases.size() == start.size(), "phases");
    for (std::size_t size : {residual.size(), positive_definite.size(), certified.size(),
                             steps.size(), rejected.size(), factorisations.size()})
      expect(static_cast<std::int64_t>(size) == batch, "outputs");
    Options o{};
    o.tolerance = nb::cast<double>(options["tolerance"]);
    o.certificate_gradient = nb::cast<double>(options["certificate_gradient"]);
    o.certificate_backoff = nb::cast<double>(options["certificate_backoff"]);
    o.theta = nb::cast<double>(options["theta"]);
    o.residual = nb::cast<double>(options["residual"]);
    o.flow_residual = nb::cast<double>(options["flow_residual"]);
    o.t_max = nb::cast<double>(options["t_max"]);
    o.max_steps = nb::cast<std::int64_t>(options["max_steps"]);
    o.max_newton = nb::cast<int>(options["max_newton"]);
    o.rodas4 = nb::cast<std::string>(options["method"]) == "rodas4";
    o.certificate = nb::cast<bool>(options["certificate"]);
    o.follow = follow;
    o.tried = tried;

    nb::gil_scoped_release release;
    const Call call(symbolic_, coupling.data());
    std::vector<SampleState> state(static_cast<std::size_t>(batch));
    Queue queue(batch);
    Job job{};
    job.batch = batch;
    job.field = field.data();
    job.start = start.data();
    job.phases = phases.data();
    job.status = status.data();
    job.residual = residual.data();
    job.positive_definite = positive_definite.data();
    job.certified = certified.data();
    job.steps = steps.data();
    job.rejected = rejected.data();
    job.factorisations = factorisations.data();
    job.state = state.data();
    job.options = o;
    job.queue = &queue;
    job.next = &Queue::pop;
    threads = worthwhile(threads, batch, follow ? kShortTask : kLongTask);
    const Kernels& kernels = choose(batch, threads);
    if (o.tolerance >= kSingleTolerance) {
      job.single = &kernels == isa_.wide ? isa_.single_wide : isa_.single_narrow;
    }
    run_threads(workers(batch, threads, kernels.width),
                kernels.relax_workspace(call.view, job.single),
                [&](double* memory) { kernels.relax(call.view, job, memory); });
  }

  void solve(const Doubles& coupling, const Doubles& field, const Doubles& phases,
             const Doubles& rhs, const Output& out, int threads) const {
    const std::int64_t batch = batch_of(phases);
    expect_state(coupling, field, phases, batch);
    expect(rhs.size() == phases.size() && out.size() == phases.size(), "rhs");
    BlockJob job = block_job(batch, field, phases);
    job.rhs = rhs.data();
    job.out = out.data();
    run_blocks(coupling, job, threads, &Kernels::solve);
  }

  void smallest_eigenvalue(const Doubles& coupling, const Doubles& field, const Doubles& phases,
                           const Output& out, int threads) const {
    const auto batch = static_cast<std::int64_t>(out.size());
    expect_state(coupling, field, phases, batch);
    BlockJob job = block_job(batch, field, phases);
    job.out = out.data();
    run_blocks(coupling, job, threads, &Kernels::smallest_eigenvalue);
  }

  void selected_inverse(const Doubles& coupling, const Doubles& field, const Doubles& phases,
                        const Output& diagonal, const Output& bonds) const {
    const std::int64_t batch = batch_of(phases);
    expect_state(coupling, field, phases, batch);
    expect(diagonal.size() == phases.size(), "diagonal");
    expect(static_cast<std::int64_t>(bonds.size()) == batch * n_bonds_, "bonds");
    BlockJob job = block_job(batch, field, phases);
    job.out = diagonal.data();
    job.out_bonds = bonds.data();
    run_blocks(coupling, job, 1, &Kernels::selected_inverse);
  }

  void segment(const Doubles& coupling, const Doubles& field, const Doubles& phases,
               const Doubles& spread, const Doubles& margin, double theta, const Output& out,
               int threads) const {
    const auto batch = static_cast<std::int64_t>(out.size());
    expect_state(coupling, field, phases, batch);
    expect(spread.size() == phases.size() && margin.size() == phases.size(), "spread");
    BlockJob job = block_job(batch, field, phases);
    job.rhs = spread.data();
    job.margin = margin.data();
    job.theta = theta;
    job.out = out.data();
    run_blocks(coupling, job, threads, &Kernels::segment);
  }

  void leaves_branch(const Doubles& coupling, const Doubles& previous_field,
                     const Doubles& field, const Doubles& start, const Doubles& end,
                     const nb::dict& rules, const Bytes& hop, int threads) const {
    const auto batch = static_cast<std::int64_t>(hop.size());
    expect_state(coupling, field, start, batch);
    expect(previous_field.size() == field.size(), "previous_field");
    expect(end.size() == start.size(), "end");
    BranchJob job{};
    job.previous_field = previous_field.data();
    job.field = field.data();
    job.start = start.data();
    job.end = end.data();
    job.hop = hop.data();
    job.rules.hop_distance = nb::cast<double>(rules["hop_distance"]);
    job.rules.smallest_step = nb::cast<double>(rules["smallest_step"]);
    job.rules.at_rest = nb::cast<double>(rules["at_rest"]);
    job.rules.first_correction = nb::cast<double>(rules["first_correction"]);
    job.rules.second_correction = nb::cast<double>(rules["second_correction"]);
    job.rules.converged = nb::cast<double>(rules["converged"]);
    job.rules.max_corrections = nb::cast<int>(rules["max_corrections"]);

    nb::gil_scoped_release release;
    const Call call(symbolic_, coupling.data());
    Queue queue(batch);
    job.queue = &queue;
    job.next = &Queue::pop;
    threads = worthwhile(threads, batch, kShortTask);
    const Kernels& kernels = choose(batch, threads);
    run_threads(workers(batch, threads, kernels.width), kernels.workspace(call.view),
                [&](double* memory) { kernels.branch(call.view, job, memory); });
  }

  void integrate(const Doubles& coupling, const Doubles& field, const Doubles& start, double h,
                 std::int64_t n_steps, const std::string& method, const Output& out) const {
    const std::int64_t batch = batch_of(start);
    expect_state(coupling, field, start, batch);
    expect(out.size() == start.size(), "out");
    BlockJob job = block_job(batch, field, start);
    job.out = out.data();
    job.h = h;
    job.n_steps = n_steps;
    job.rodas4 = method == "rodas4";
    run_blocks(coupling, job, 1, &Kernels::integrate);
  }

  void sincos(const Doubles& x, const Output& sine, const Output& cosine) const {
    expect(sine.size() == x.size() && cosine.size() == x.size(), "out");
    isa_.wide->sincos(x.data(), sine.data(), cosine.data(), static_cast<std::int64_t>(x.size()));
  }

  std::string isa() const { return isa_.name; }
  nb::dict describe() const {
    const GraphView g = symbolic_.view();
    nb::dict d;
    d["nodes"] = g.n;
    d["bonds"] = g.n_bonds;
    d["supernodes"] = g.n_supernodes;
    d["widest"] = g.max_cols;
    d["panel_entries"] = g.panel_total;
    d["row_blocks"] = g.n_blocks;
    d["lanes"] = isa_.wide->width;
    return d;
  }

 private:
  // A view with the couplings of one call.
  struct Call {
    Call(const Symbolic& symbolic, const double* coupling) : view(symbolic.view()) {
      symbolic.arrange(coupling, values, entry_j, stiffness);
      view.values = values.data();
      view.entry_j = entry_j.data();
      view.stiffness = stiffness.data();
      values_single.assign(values.begin(), values.end());
      entry_j_single.assign(entry_j.begin(), entry_j.end());
      view.values_single = values_single.data();
      view.entry_j_single = entry_j_single.data();
    }
    std::vector<double> values, entry_j, stiffness;
    std::vector<float> values_single, entry_j_single;
    GraphView view;
  };

  static std::vector<std::pair<Index, Index>> pairs(
      int n, const nb::ndarray<const std::int64_t, nb::c_contig, nb::device::cpu>& edges) {
    expect(n > 0 && edges.size() % 2 == 0, "edges");
    std::vector<std::pair<Index, Index>> result;
    for (std::size_t k = 0; k < edges.size(); k += 2) {
      const std::int64_t i = edges.data()[k], j = edges.data()[k + 1];
      expect(i >= 0 && j >= 0 && i < n && j < n && i != j, "edges");
      result.push_back({static_cast<Index>(i), static_cast<Index>(j)});
    }
    return result;
  }

  std::int64_t batch_of(const Doubles& phases) const {
    return static_cast<std::int64_t>(phases.size()) / n_;
  }

  void expect_state(const Doubles& coupling, const Doubles& field, const Doubles& phases,
                    std::int64_t batch) const {
    expect(static_cast<std::int64_t>(coupling.size()) == n_bonds_, "coupling");
    expect(static_cast<std::int64_t>(phases.size()) == batch * n_, "phases");
    expect(static_cast<std::int64_t>(field.size()) == 2 * batch * n_, "field");
  }

  static BlockJob block_job(std::int64_t batch, const Doubles& field, const Doubles& phases) {
    BlockJob job{};
    job.batch = batch;
    job.field = field.data();
    job.phases = phases.data();
    return job;
  }

  const Kernels& choose(std::int64_t batch, int threads) const {
    const bool few = batch <= std::int64_t(isa_.narrow->width) * std::max(threads, 1);
    return few ? *isa_.narrow : *isa_.wide;
  }

  // A step's error far above single precision's rounding (1e-5 after all cancellation).
  static constexpr double kSingleTolerance = 1e-3;

  // Fewer threads where starting them would cost more than they save: samples times nodes that
  // make one thread worth it, for tasks of a few factorisations and for whole flows.
  static constexpr std::int64_t kShortTask = 2000, kLongTask = 500;
  int worthwhile(int threads, std::int64_t batch, std::int64_t per_thread) const {
    const std::int64_t most = std::max<std::int64_t>(1, batch * n_ / per_thread);
    return static_cast<int>(std::min<std::int64_t>(threads, most));
  }

  static int workers(std::int64_t batch, int threads, int width) {
    const std::int64_t blocks = std::max<std::int64_t>(1, (batch + width - 1) / width);
    return static_cast<int>(std::min<std::int64_t>(std::max(threads, 1), blocks));
  }

  void run_blocks(const Doubles& coupling, const BlockJob& job, int threads,
                  void (*Kernels::*task)(const GraphView&, const BlockJob&, std::int64_t,
                                         double*)) const {
    nb::gil_scoped_release release;
    const Call call(symbolic_, coupling.data());
    threads = worthwhile(threads, job.batch, kShortTask);
    const Kernels& kernels = choose(job.batch, threads);
    std::atomic<std::int64_t> next{0};
    run_threads(workers(job.batch, threads, kernels.width), kernels.workspace(call.view),
                [&](double* memory) {
                  for (;;) {
                    const std::int64_t first = next.fetch_add(kernels.width);
                    if (first >= job.batch) return;
                    (kernels.*task)(call.view, job, first, memory);
                  }
                });
  }

  Symbolic symbolic_;
  Isa isa_{};
  std::int64_t n_ = 0;
  std::int64_t n_bonds_ = 0;
};

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const Isa& isa : usable_isas()) names.emplace_back(isa.name);
  return names;
}

}  // namespace
}  // namespace eqp

NB_MODULE(_native, m) {
  m.doc() = "Compiled relaxation engine; used through native_engine.NativeEngine.";
  m.def("isas", &eqp::isas, "Instruction sets usable on this processor, best first.");
  nb::class_<eqp::Engine>(m, "Engine")
      .def(nb::init<int, nb::ndarray<const std::int64_t, nb::c_contig, nb::device::cpu>,
                    std::string>(),
           "n"_a, "edges"_a, "isa"_a)
      .def("relax", &eqp::Engine::relax, "coupling"_a, "field"_a, "start"_a, "options"_a,
           "follow"_a, "tried"_a, "threads"_a, "phases"_a, "status"_a, "residual"_a, "positive_definite"_a,
           "certified"_a, "steps"_a, "rejected"_a, "factorisations"_a)
      .def("solve", &eqp::Engine::solve, "coupling"_a, "field"_a, "phases"_a, "rhs"_a, "out"_a,
           "threads"_a)
      .def("smallest_eigenvalue", &eqp::Engine::smallest_eigenvalue, "coupling"_a, "field"_a,
           "phases"_a, "out"_a, "threads"_a)
      .def("selected_inverse", &eqp::Engine::selected_inverse, "coupling"_a, "field"_a,
           "phases"_a, "diagonal"_a, "bonds"_a)
      .def("segment", &eqp::Engine::segment, "coupling"_a, "field"_a, "phases"_a, "spread"_a,
           "margin"_a, "theta"_a, "out"_a, "threads"_a)
      .def("leaves_branch", &eqp::Engine::leaves_branch, "coupling"_a, "previous_field"_a,
           "field"_a, "start"_a, "end"_a, "rules"_a, "hop"_a, "threads"_a)
      .def("integrate", &eqp::Engine::integrate, "coupling"_a, "field"_a, "start"_a, "h"_a,
           "n_steps"_a, "method"_a, "out"_a)
      .def("sincos", &eqp::Engine::sincos, "x"_a, "sine"_a, "cosine"_a)
      .def_prop_ro("isa", &eqp::Engine::isa)
      .def("describe", &eqp::Engine::describe);
}
