//go:build tamago

// Command selftest is an image of its own that shows, on the machine it boots on,
// that the seam to stock Go (kernel/baremetal) holds: scheduling, signals, memory,
// clocks, threads, and a TCP stack on top of it all. It prints a line for each
// check and each figure, and a last one with the sums, and switches the machine
// off:
//
//	selftest: PASS name detail
//	selftest: FAIL name why
//	selftest: FIGURE name value unit
//	selftest: done N passed, M failed
//
// The word "only=NAME,NAME" on the command line selects checks. Nothing of it is
// built for another system than the bare machine (build tag tamago).
package main
