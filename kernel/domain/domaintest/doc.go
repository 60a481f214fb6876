// Package domaintest is a machine for tests of what guests do: domains of package
// domain on memory of Go's heap, with a clock that a test sets, and vcpus whose
// guest code is a Go function. Nothing of it is hardware.
package domaintest
