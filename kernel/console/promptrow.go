package console

import (
	"bytes"
	"slices"
)

// PromptRow knows what stands on a terminal's last row, so that lines of others
// can go above the prompt and what is being typed behind it. It is a pure state
// machine and not safe for use by several goroutines.
type PromptRow struct {
	// Prompt is what such a row begins with.
	Prompt string

	row   []byte // what the shell sent since the row was begun, or drawn anew
	shown bool   // the cursor is in it
}

// maxRow bounds what is kept of a row, in bytes. A longer one isn't drawn again.
const maxRow = 4096

// Shell takes note of what the shell sends.
func (r *PromptRow) Shell(p []byte) {
	if i := bytes.LastIndexAny(p, "\r\n"); i >= 0 {
		r.row, p = r.row[:0], p[i+1:]
	}
	r.row = append(r.row, p...)
	if len(r.row) > maxRow {
		r.row = r.row[:0]
	}
	r.shown = true
}

// Other says that somebody else has written: the row is further up.
func (r *PromptRow) Other() { r.shown = false }

// Above returns what to send so that whole lines, which end with a line feed,
// stand above the row, if it is a prompt's.
func (r *PromptRow) Above(lines []byte) []byte {
	if !r.shown || !r.prompts() || !bytes.HasSuffix(lines, []byte("\n")) {
		return lines
	}
	return slices.Concat([]byte("\r\x1b[K"), lines, r.again())
}

// Again returns what draws the row when the cursor is at the start of an empty one
// and the shell gets the input back.
func (r *PromptRow) Again() []byte {
	if !r.prompts() {
		return nil
	}
	r.shown = true
	return r.again()
}

func (r *PromptRow) prompts() bool { return bytes.HasPrefix(r.row, []byte(r.Prompt)) }

// again begins with an escape sequence, which tells a row that is drawn again from
// one that a command's end has drawn.
func (r *PromptRow) again() []byte {
	return append([]byte("\x1b[K"), bytes.ReplaceAll(r.row, []byte("\a"), nil)...)
}
