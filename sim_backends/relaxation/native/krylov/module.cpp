// Python module `_krylov`.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <complex>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "relax.hpp"
#include "spectrum.hpp"

namespace nb = nanobind;

namespace eqp {
namespace {

using Reals = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using RealRows = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using ComplexRows =
    nb::ndarray<const std::complex<double>, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Edges = nb::ndarray<const std::int64_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using OutReals = nb::ndarray<double, nb::c_contig, nb::device::cpu>;
using OutIntegers = nb::ndarray<std::int64_t, nb::c_contig, nb::device::cpu>;

class Solver {
 public:
  Solver(int n, Edges edges, double factor_bytes)
      : graph_(make_graph(n, edges.data(), static_cast<std::int64_t>(edges.shape(0)))) {
    auto symbolic = std::make_shared<Symbolic>(graph_);
    flops_ = symbolic->flops;
    entries_ = static_cast<double>(symbolic->entries);
    if (8.0 * entries_ <= factor_bytes) symbolic_ = std::move(symbolic);
  }

  Sample sample(const double* coupling, const std::complex<double>* field) const {
    Sample result{graph_, {}, {}, {}};
    result.coupling.resize(graph_.bond.size());
    for (std::size_t k = 0; k < graph_.bond.size(); ++k) result.coupling[k] = coupling[graph_.bond[k]];
    result.field_re.resize(graph_.original.size());
    result.field_im.resize(graph_.original.size());
    for (int i = 0; i < graph_.n; ++i) {
      result.field_re[i] = field[graph_.original[i]].real();
      result.field_im[i] = field[graph_.original[i]].imag();
    }
    return result;
  }
  std::vector<double> inward(const double* values) const {
    std::vector<double> result(graph_.original.size());
    for (int i = 0; i < graph_.n; ++i) result[i] = values[graph_.original[i]];
    return result;
  }
  void outward(const std::vector<double>& values, double* out) const {
    for (int i = 0; i < graph_.n; ++i) out[graph_.original[i]] = values[i];
  }

  // reals (batch, 2): residual, flow time; integers (batch, 9): see _krylov.pyi.
  void relax(Reals coupling, ComplexRows field, ComplexRows previous, bool follow,
             OutReals phases, OutReals reals, OutIntegers integers, const Options& options,
             int threads) const {
    nb::gil_scoped_release release;
    Workers workers(worth(threads));
    const auto batch = static_cast<std::int64_t>(field.shape(0));
    for (std::int64_t b = 0; b < batch; ++b) {
      double* row = phases.data() + b * graph_.n;
      std::vector<double> angle = inward(row);
      const Sample now = sample(coupling.data(), field.data() + b * graph_.n);
      Relaxer relaxer(graph_, symbolic_, workers, options);
      Result result;
      if (follow) {
        const Sample before = sample(coupling.data(), previous.data() + b * graph_.n);
        result = relaxer.follow(now, before, angle);
      } else {
        result = relaxer.relax(now, angle);
      }
      outward(angle, row);
      reals.data()[2 * b] = result.residual;
      reals.data()[2 * b + 1] = result.time;
      const std::int64_t numbers[9] = {result.status,       result.positive_definite,
                                       result.certified,    result.hop,
                                       result.steps,        result.rejected,
                                       result.factorisations, result.iterations,
                                       result.direct_steps};
      std::memcpy(integers.data() + 9 * b, numbers, sizeof numbers);
    }
  }

  void solve(Reals coupling, ComplexRows field, RealRows phases, RealRows rhs, OutReals out,
             int threads) const {
    nb::gil_scoped_release release;
    Workers workers(worth(threads));
    Linear linear(graph_, symbolic_, workers);
    for (std::int64_t b = 0; b < static_cast<std::int64_t>(field.shape(0)); ++b) {
      const Sample now = sample(coupling.data(), field.data() + b * graph_.n);
      State state(now, workers);
      state.at(inward(phases.data() + b * graph_.n).data(), true);
      std::vector<double> x = solve_one(linear, now, state,
                                        inward(rhs.data() + b * graph_.n), workers);
      outward(x, out.data() + b * graph_.n);
    }
  }

  void smallest(Reals coupling, ComplexRows field, RealRows phases, OutReals out,
                int threads) const {
    nb::gil_scoped_release release;
    Workers workers(worth(threads));
    Linear linear(graph_, symbolic_, workers);
    for (std::int64_t b = 0; b < static_cast<std::int64_t>(field.shape(0)); ++b) {
      const Sample now = sample(coupling.data(), field.data() + b * graph_.n);
      State state(now, workers);
      state.at(inward(phases.data() + b * graph_.n).data(), true);
      out.data()[b] = smallest_eigenvalue(linear, graph_, state, workers, stiffness(now), 1e-6);
    }
  }

  bool direct() const { return symbolic_ != nullptr; }
  double flops() const { return flops_; }
  double entries() const { return entries_; }

 private:
  // A second thread gains nothing on small graphs.
  int worth(int threads) const { return graph_.n < 8192 ? 1 : threads; }

  std::vector<double> solve_one(Linear& linear, const Sample& now, const State& state,
                                const std::vector<double>& rhs, Workers& workers) const {
    const auto n = rhs.size();
    const Matrix h{&graph_, state.values.data(), state.diagonal.data(), 0.0};
    std::vector<double> x(n), r(n);
    double size = 0.0;
    for (double value : rhs) size = std::max(size, std::fabs(value));
    const auto residual = [&] {
      multiply(h, x.data(), r.data(), 0, graph_.n);
      double most = 0.0;
      for (std::size_t i = 0; i < n; ++i) {
        r[i] = rhs[i] - r[i];
        most = !(std::fabs(r[i]) <= most) ? std::fabs(r[i]) : most;
      }
      return most;
    };
    if (size == 0.0) return x;
    bool solved = false;
    double shift = 0.0;
    if (linear.direct()) {
      const double unit = std::max(stiffness(now), 1e-300);
      while (!linear.factorise(h.values, h.diagonal, 1.0, shift) && shift < 8.0 * unit) {
        shift = shift == 0.0 ? 1e-3 * unit : 4.0 * shift;
      }
      if (shift == 0.0) {
        linear.back_solve(rhs.data(), x.data());
        residual();
        std::vector<double> more(n);
        linear.back_solve(r.data(), more.data());
        for (std::size_t i = 0; i < n; ++i) x[i] += more[i];
        solved = true;
      }
    } else {
      linear.incomplete.build(h);
      solved = linear.cg.solve(h, linear.incomplete, rhs.data(), x.data(), 1e-12 * size, 20000)
                   .outcome == Outcome::kConverged;
    }
    if (!solved) {
      const auto precondition = [&](const double* from, double* to) {
        if (linear.direct()) {
          linear.back_solve(from, to);
        } else {
          const Chunks& chunks = linear.incomplete.chunks();
          workers.run(chunks.count(),
                      [&](std::int64_t c) { linear.incomplete.apply(from, to, c); });
        }
      };
      if (!linear.direct()) {
        linear.incomplete.build({&graph_, h.values, h.diagonal, stiffness(now)});
      }
      linear.cg.minres(h, precondition, rhs.data(), x.data(), 1e-13, 20000);
    }
    if (!(residual() <= 1e-8 * size)) {
      std::fill(x.begin(), x.end(), std::numeric_limits<double>::quiet_NaN());
    }
    return x;
  }

  Graph graph_;
  std::shared_ptr<const Symbolic> symbolic_;
  double flops_ = 0.0, entries_ = 0.0;
};

}  // namespace
}  // namespace eqp

NB_MODULE(_krylov, m) {
  using eqp::Options;
  using eqp::Solver;
  nb::class_<Options>(m, "Options")
      .def(nb::init<>())
      .def_rw("rodas4", &Options::rodas4)
      .def_rw("tolerance", &Options::tolerance)
      .def_rw("certificate", &Options::certificate)
      .def_rw("certificate_gradient", &Options::certificate_gradient)
      .def_rw("certificate_backoff", &Options::certificate_backoff)
      .def_rw("theta", &Options::theta)
      .def_rw("residual", &Options::residual)
      .def_rw("flow_residual", &Options::flow_residual)
      .def_rw("t_max", &Options::t_max)
      .def_rw("max_steps", &Options::max_steps)
      .def_rw("max_newton", &Options::max_newton);
  nb::class_<Solver>(m, "Solver")
      .def(nb::init<int, eqp::Edges, double>(), nb::arg("n"), nb::arg("edges"),
           nb::arg("factor_bytes"))
      .def("relax", &Solver::relax)
      .def("solve", &Solver::solve)
      .def("smallest_eigenvalue", &Solver::smallest)
      .def_prop_ro("direct", &Solver::direct)
      .def_prop_ro("factor_flops", &Solver::flops)
      .def_prop_ro("factor_entries", &Solver::entries);
}
