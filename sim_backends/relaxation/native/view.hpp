// Plain data shared by the symbolic part, the kernels and the Python module.
//
// Kernel translation units are compiled for several instruction sets. They see only these
// structs and no standard-library templates, so that no inline function compiled for AVX-512
// can be picked by the linker for code that runs on an older processor.
#pragma once

#include <cstdint>

namespace eqp {

// A group of consecutive columns with one list of rows below. Its panel is row-major,
// (cols + rows) x cols; a diagonal group (columns that do not touch each other, e.g. the
// hidden layer of a two-layer network) keeps only its rows x cols part.
struct Supernode {
  std::int32_t first;         // first column
  std::int32_t cols;          // number of columns
  std::int32_t rows;          // number of rows below the columns
  std::int32_t diagonal;      // 1: no bonds among the columns
  std::int32_t row_list;      // offset into GraphView::rows
  std::int32_t update_begin;  // updates that this group receives
  std::int32_t update_end;
  std::int32_t out_begin;  // updates that this group sends, offsets into GraphView::sent
  std::int32_t out_end;
  std::int32_t entry_begin;  // bonds stored in this panel
  std::int32_t entry_end;
  std::int32_t same_rows_as_next;  // the next group has the same row list
  std::int64_t panel;              // offset of the panel, in lane vectors
  std::int64_t panel_size;
};

// Rows [begin, end) of `source` are columns of `target`; rel maps rows begin.. of the source
// to panel rows of the target.
struct Update {
  std::int32_t source;
  std::int32_t target;
  std::int32_t begin;
  std::int32_t end;
  std::int32_t rel;
};

// One bond in its panel.
struct Entry {
  std::int32_t pos;  // within the panel
  std::int32_t row;
  std::int32_t col;
  std::int32_t bond;
};

// Up to four consecutive rows that share one list of neighbours (padded with zero couplings).
struct RowBlock {
  std::int32_t row;
  std::int32_t count;
  std::int32_t neighbour;  // offset into GraphView::neighbours
  std::int32_t length;
  std::int64_t value;  // offset into GraphView::values, neighbour-major
};

struct GraphView {
  std::int32_t n;
  std::int32_t n_bonds;
  std::int32_t n_supernodes;
  std::int32_t n_blocks;
  std::int32_t max_cols;
  std::int32_t max_rows;
  std::int64_t panel_total;
  const std::int32_t* order;  // internal position -> caller's node
  const Supernode* supernodes;
  const std::int32_t* rows;
  const Update* updates;
  const std::int32_t* sent;  // indices into updates, by source
  const std::int32_t* rel;
  const Entry* entries;
  const RowBlock* blocks;
  const std::int32_t* neighbours;
  // of one call:
  const double* values;    // couplings in the order of the row blocks
  const double* entry_j;   // couplings in the order of the entries
  const double* stiffness;  // 2 sum_j |J_ij| of each internal row
  const float* values_single;   // `values` and `entry_j`, rounded
  const float* entry_j_single;
};

struct Options {
  double tolerance;
  double certificate_gradient;
  double certificate_backoff;
  double theta;
  double residual;
  double flow_residual;
  double t_max;
  std::int64_t max_steps;
  std::int32_t max_newton;
  std::int32_t rodas4;  // else RODAS3
  std::int32_t certificate;
  std::int32_t follow;  // certificate and Newton from the start only, no flow
  std::int32_t tried;   // the certificate failed at the start already
};

// The flow of a block of lanes in one precision; the numbers handed over are doubles. What
// it knows is in the block's memory.
constexpr int kMostLanes = 16;
struct FlowKernels {
  int width;
  std::int64_t (*workspace)(const GraphView&);  // doubles, the start must be 64-byte aligned
  void (*open)(const GraphView&, double* memory);  // all lanes empty
  void (*load)(const GraphView&, double* memory, int lane, const double* field,
               const double* phases);
  // `phases` must hold what was loaded.
  void (*store)(const GraphView&, double* memory, int lane, double* phases);
  void (*clear)(const GraphView&, double* memory, int lane);
  void (*evaluate)(const GraphView&, double* memory, double* largest);
  // Computes a step of each lane; error NaN: the matrix was not positive definite.
  void (*step)(const GraphView&, double* memory, bool rodas4, const double* h, double* error);
  // Takes the step where `accepted`, and evaluates.
  void (*accept)(const GraphView&, double* memory, const bool* accepted, double* largest);
};

enum Status : std::uint8_t {
  kEquilibrium = 0,
  kStepLimit = 2,
  kUnstable = 3,
  kNotFinite = 4,
  kNeedsFlow = 255,  // follow: the certificate failed at the start
};

// What a sample carries from lane to lane; its phases wait in the output row.
struct SampleState {
  double h;
  double t;
  double try_below;    // |g| below which the certificate is tried next
  double still_below;  // |g| below which the flow is taken to stand still
  std::int64_t next_late;  // list of samples that go on in double precision
  double rho;          // bound on the largest Hessian entry sum
  std::int64_t steps;
  std::int64_t rejected;
  std::int64_t factorisations;
  std::int32_t certified;
  std::int32_t check_only;  // limits reached: only the final test remains
  std::int32_t refused;     // the last step was rejected
};

struct Job {
  std::int64_t batch;
  const double* field;  // (batch, n) complex
  const double* start;  // (batch, n)
  double* phases;       // (batch, n)
  std::uint8_t* status;
  double* residual;
  std::uint8_t* positive_definite;
  std::uint8_t* certified;
  std::int64_t* steps;
  std::int64_t* rejected;
  std::int64_t* factorisations;
  SampleState* state;
  Options options;
  const FlowKernels* single;  // null: double precision throughout
  std::int64_t (*next)(void*);  // next sample of the queue, negative when empty
  void* queue;
};

// Work on fixed blocks of samples: solve, selected inverse, smallest eigenvalue, integrate.
struct BlockJob {
  std::int64_t batch;
  const double* field;
  const double* phases;
  const double* rhs;    // solve: (batch, n); segment: half the phases' change
  const double* margin;  // segment: (batch, n), half the field's change
  double theta;
  double* out;          // (batch, n), eigenvalue: (batch,)
  double* out_bonds;    // selected inverse: (batch, n_bonds)
  double h;             // integrate
  std::int64_t n_steps;
  std::int32_t rodas4;
};

// See ../branch.py for the rules.
struct BranchRules {
  double hop_distance;
  double smallest_step;
  double at_rest;
  double first_correction;
  double second_correction;
  double converged;
  std::int32_t max_corrections;
};

struct BranchJob {
  const double* previous_field;  // (batch, n) complex
  const double* field;           // (batch, n) complex
  const double* start;           // (batch, n)
  const double* end;             // (batch, n)
  std::uint8_t* hop;             // (batch,)
  BranchRules rules;
  std::int64_t (*next)(void*);  // next sample of the queue, negative when empty
  void* queue;
};

struct Kernels {
  const char* isa;
  int width;
  std::int64_t (*workspace)(const GraphView&);  // doubles, the start must be 64-byte aligned
  std::int64_t (*relax_workspace)(const GraphView&, const FlowKernels* single);
  void (*relax)(const GraphView&, const Job&, double* workspace);
  void (*solve)(const GraphView&, const BlockJob&, std::int64_t first, double* workspace);
  void (*selected_inverse)(const GraphView&, const BlockJob&, std::int64_t first,
                           double* workspace);
  void (*smallest_eigenvalue)(const GraphView&, const BlockJob&, std::int64_t first,
                              double* workspace);
  void (*integrate)(const GraphView&, const BlockJob&, std::int64_t first, double* workspace);
  void (*segment)(const GraphView&, const BlockJob&, std::int64_t first, double* workspace);
  void (*branch)(const GraphView&, const BranchJob&, double* workspace);
  void (*sincos)(const double* x, double* sine, double* cosine, std::int64_t count);
};

}  // namespace eqp
