package console

import (
	"strings"
	"testing"
)

func TestPromptRow(t *testing.T) {
	const line = "(NID) something\r\n"
	for _, c := range []struct {
		name  string
		shell []string // one more write each
		want  string   // behind the line; "-" for nothing and no erasing before it
	}{
		{"nothing yet", nil, "-"},
		{"a prompt", []string{"\r$ \x1b[K"}, "\x1b[K$ \x1b[K"},
		{"some keys", []string{"\r$ \x1b[K", "li", "s", "\a"}, "\x1b[K$ \x1b[Klis"},
		{"drawn anew", []string{"\r$ \x1b[K", "lx", "\r$ l\x1b[K\x1b[1D"}, "\x1b[K$ l\x1b[K\x1b[1D"},
		{"a command runs", []string{"\r$ \x1b[Klist", "\r\n"}, "-"},
		{"a command prints", []string{"\r$ list\r\n", "Name\r\nDoma"}, "-"},
		{"a guest's console", []string{"\r\n", "login: "}, "-"},
		{"a prompt again", []string{"Name\r\n\r$ \x1b[K"}, "\x1b[K$ \x1b[K"},
		{"endless", []string{"\r$ ", strings.Repeat("x", maxRow)}, "-"},
	} {
		r := PromptRow{Prompt: "$ "}
		for _, s := range c.shell {
			r.Shell([]byte(s))
		}
		want := "\r\x1b[K" + line + c.want
		if c.want == "-" {
			want = line
		}
		for range 2 { // it stands where it stood
			if got := string(r.Above([]byte(line))); got != want {
				t.Errorf("%s: %q, want %q", c.name, got, want)
			}
		}
		if got := string(r.Above([]byte("no end"))); got != "no end" {
			t.Errorf("%s, half a line: %q", c.name, got)
		}
		r.Other()
		if got := string(r.Above([]byte(line))); got != line {
			t.Errorf("%s, behind others' output: %q", c.name, got)
		}
		if got := string(r.Again()); c.want == "-" && got != "" || c.want != "-" && (got != c.want || string(r.Above([]byte(line))) != want) {
			t.Errorf("%s, again: %q", c.name, got)
		}
	}
}
