package console

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestLimited(t *testing.T) {
	var now time.Duration
	var got []string
	say := Limited(NewBucket(1, 2, func() time.Duration { return now }), func(format string, args ...any) {
		got = append(got, fmt.Sprintf(format, args...))
	})
	for i := range 5 {
		say("no. %d", i)
	}
	now = time.Second
	say("a second later")
	now = 2 * time.Second
	say("and another")
	want := []string{"no. 0", "no. 1", "3 messages suppressed", "a second later", "and another"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
