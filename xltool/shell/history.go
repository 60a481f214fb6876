package shell

import (
	"context"
	"strings"
)

const maxHistory = 200 // lines

// history is the lines that were entered, oldest first.
type history struct {
	lines []string
	at    int    // len(lines): the line being edited
	draft string // that line, while an older one is shown
}

func (h *history) add(s string) {
	if s = strings.TrimSpace(s); s == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == s {
		return
	}
	if len(h.lines) == maxHistory {
		h.lines = h.lines[:copy(h.lines, h.lines[1:])]
	}
	h.lines = append(h.lines, s)
}

func (h *history) rewind() { h.at, h.draft = len(h.lines), "" }

func (h *history) older(current string) (string, bool) {
	if h.at == 0 {
		return "", false
	}
	if h.at == len(h.lines) {
		h.draft = current
	}
	h.at--
	return h.lines[h.at], true
}

func (h *history) newer() (string, bool) {
	if h.at >= len(h.lines) {
		return "", false
	}
	h.at++
	if h.at == len(h.lines) {
		return h.draft, true
	}
	return h.lines[h.at], true
}

// find returns the newest line before number before that contains s, or -1.
func (h *history) find(s string, before int) int {
	for i := min(before, len(h.lines)) - 1; i >= 0; i-- {
		if strings.Contains(h.lines[i], s) {
			return i
		}
	}
	return -1
}

// search is ^R: it looks backwards in the history for what is typed, until a
// key does something else with the line found. It reports whether that was
// enter; ^C and ^G bring back the line as it was.
func (e *editor) search(ctx context.Context) (enter bool, err error) {
	oldLine, oldPrompt := string(e.line), e.prompt
	defer func() { e.prompt = oldPrompt }()
	var pattern []rune
	at := len(e.hist.lines)
	show := func(at int) {
		e.prompt = "(reverse-i-search)`" + shortTail(string(pattern), 30) + "': "
		if at >= 0 && at < len(e.hist.lines) {
			e.set(e.hist.lines[at])
		}
		e.refresh()
	}
	leave := func() {
		e.prompt = oldPrompt
		e.refresh()
	}
	show(at)
	for {
		k, err := e.keys.key(ctx)
		if err != nil {
			return false, err
		}
		found := at
		switch {
		case k == '\r':
			leave()
			return true, nil
		case k == ctrl('C') || k == ctrl('G'):
			e.set(oldLine)
			leave()
			return false, nil
		case k == ctrl('R'):
			found = e.hist.find(string(pattern), at)
		case (k == 0x7f || k == '\b') && len(pattern) > 0:
			pattern = pattern[:len(pattern)-1]
			found = e.hist.find(string(pattern), len(e.hist.lines))
		case k >= ' ' && k < keyUnknown && k != 0x7f && len(pattern) < maxLine:
			pattern = append(pattern, k)
			found = e.hist.find(string(pattern), min(at+1, len(e.hist.lines)))
		default:
			leave()
			e.edit(k)
			return false, nil
		}
		if found < 0 {
			e.bell()
		} else {
			at = found
		}
		show(at)
	}
}

func shortTail(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return "<" + string(r[len(r)-n:])
	}
	return s
}
