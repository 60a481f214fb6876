//go:build !tamago

// Package cpu is for the bare machine only.
package cpu
