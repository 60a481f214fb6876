package main

import "testing"

func TestDeadlineOnly(t *testing.T) {
	const head = "fuzz: elapsed: 30s, execs: 763194 (0/sec)\n--- FAIL: FuzzELF (30.04s)\n"
	for text, want := range map[string]bool{
		head + "    context deadline exceeded\nFAIL\n":                                                                true,
		head + "    --- FAIL: FuzzELF (0.00s)\n        elf_test.go:9: wrong\n    Failing input written to testdata\n": false,
		head + "    fuzzing process hung or terminated unexpectedly: exit status 2\n    Failing input written to t\n": false,
		head + "    context deadline exceeded\n    panic: x\n":                                                        false,
		"PASS\n": false,
	} {
		if got := deadlineOnly(text); got != want {
			t.Errorf("deadlineOnly(%q) = %v", text, got)
		}
	}
}
