package boot

import "strings"

// SplitWords splits a command line at white space. Double quotes hold a word
// together and vanish; a quote that is not closed ends with the line.
func SplitWords(line string) []string {
	var words []string
	var w strings.Builder
	quoted, begun := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted, begun = !quoted, true
		case !quoted && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			if begun {
				words = append(words, w.String())
			}
			w.Reset()
			begun = false
		default:
			w.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, w.String())
	}
	return words
}

// isImagePath reports whether the first word of a command line is the image's
// own name, which QEMU and some multiboot 1 loaders put there and others do not.
// No option is spelled like a path or a file name.
func isImagePath(word string) bool {
	if slash := strings.IndexByte(word, '/'); slash >= 0 {
		eq := strings.IndexByte(word, '=')
		return eq < 0 || slash < eq
	}
	return !strings.ContainsRune(word, '=') &&
		(strings.ContainsRune(word, '.') || word == "nidus" || strings.HasPrefix(word, "nidus-"))
}
