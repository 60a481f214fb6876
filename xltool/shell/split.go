package shell

import "nidus/rpc/control"

// split cuts a line into words: blanks separate, quotes of both kinds and
// backslashes protect, # at the start of a word begins a comment.
func split(line string) ([]string, error) {
	var words []string
	var word []byte
	inWord := false
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(line) && (quote == 0 || line[i+1] == '"' || line[i+1] == '\\'):
			i++
			word, inWord = append(word, line[i]), true
		case quote != 0:
			word = append(word, c)
		case c == '"' || c == '\'':
			quote, inWord = c, true
		case c == ' ' || c == '\t':
			if inWord {
				words, word, inWord = append(words, string(word)), nil, false
			}
		case c == '#' && !inWord:
			return words, nil
		default:
			word, inWord = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, control.Errorf(control.ErrBadArgument, "a %c is not closed; add another one", quote)
	}
	if inWord {
		words = append(words, string(word))
	}
	return words, nil
}
