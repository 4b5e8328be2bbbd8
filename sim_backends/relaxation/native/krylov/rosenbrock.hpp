// Coefficients of the linearly implicit Rosenbrock methods, in transformed form.
//
// Stage s solves (I/(γh) + H) K_s = −g(φ + Σ_j a_sj K_j) + (1/h) Σ_j c_sj K_j; the step ends at
// φ + Σ m_s K_s, and the last K estimates its error. Both methods are L-stable and stiffly
// accurate. Sources: Hairer & Wanner, Solving ODEs II (2nd ed.), IV.7; Sandu et al., Atmos.
// Environ. 31, 3459 (1997).
#pragma once

namespace eqp {

struct Tableau {
  int stages;
  double gamma;
  int order;
  double a[6][6];
  double c[6][6];
  double m[6];
};

inline constexpr Tableau kRodas3{
    4,
    0.5,
    3,
    {{}, {0}, {2}, {2, 0, 1}},
    {{}, {4}, {1, -1}, {1, -1, -8.0 / 3.0}},
    {2, 0, 1, 1}};

inline constexpr Tableau kRodas4{
    6,
    0.25,
    4,
    {{},
     {1.544},
     {0.9466785280815826, 0.2557011698983284},
     {3.314825187068521, 2.896124015972201, 0.9986419139977817},
     {1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950},
     {1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1}},
    {{},
     {-5.6688},
     {-2.430093356833875, -0.2063599157091915},
     {-0.1073529058151375, -9.594562251023355, -20.47028614809616},
     {7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160},
     {8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136,
      -6.058818238834054}},
    {1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1, 1}};

}  // namespace eqp
