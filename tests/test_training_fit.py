"""fit_net and its watch: Ctrl-C by its signal only, whoever swallows the exception."""

import contextlib
import signal
import threading

import pytest
from nets import X_DIGITS, Y_DIGITS, make_classifier
from skorch.callbacks import Callback

from sklr._interrupts import InterruptWatch
from sklr._training._fit import fit_net


def press():
    signal.raise_signal(signal.SIGINT)


class InEpochTwo(Callback):
    """Does something at the end of the second epoch, counted over all fits."""

    def __init__(self, action):
        self.action = action

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            self.action()


def stop():
    raise KeyboardInterrupt


def fit(action, **params):
    net = make_classifier(callbacks=[InEpochTwo(action)], max_epochs=3)
    return fit_net(net, X_DIGITS[:50], Y_DIGITS[:50], **params)


@pytest.fixture(autouse=True)
def _handler():
    # A shell's background jobs ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_reaches_the_user_and_a_callbacks_stop_does_not():
    with pytest.raises(KeyboardInterrupt):
        fit(press)
    assert len(fit(stop).history) == 2
    assert len(fit(lambda: None).history) == 3


def test_ctrl_c_after_a_callbacks_stop_counts():
    def both():
        try:
            press()
        finally:
            stop()

    with pytest.raises(KeyboardInterrupt):
        fit(both)


def test_epochs_go_on_from_where_the_net_is():
    net = fit(lambda: None)
    assert len(fit_net(net, X_DIGITS[:50], Y_DIGITS[:50], epochs=2).history) == 5


def test_an_error_is_not_turned_into_an_interruption():
    def fail():
        try:
            press()
        except KeyboardInterrupt:
            raise ValueError("in its own words") from None

    with pytest.raises(ValueError, match="in its own words"):
        fit(fail)


@pytest.mark.parametrize("kind", ["swallows", "ignores"])
def test_a_handler_that_does_not_interrupt_is_respected(kind):
    pressed = []
    handler = signal.SIG_IGN if kind == "ignores" else lambda *args: pressed.append(args)
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert len(fit(press).history) == 3
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(pressed) == (kind == "swallows")


def test_a_handler_that_is_set_meanwhile_stays():
    def mine(*args):
        raise AssertionError

    before = signal.getsignal(signal.SIGINT)
    with InterruptWatch():
        signal.signal(signal.SIGINT, mine)
    assert signal.getsignal(signal.SIGINT) is mine
    signal.signal(signal.SIGINT, before)


def test_watches_may_be_nested():
    outer, inner = InterruptWatch(), InterruptWatch()
    with pytest.raises(KeyboardInterrupt), outer, inner, contextlib.suppress(KeyboardInterrupt):
        press()
    assert inner.interrupted
    assert outer.interrupted


def test_a_watch_within_that_was_never_stopped_ends_with_the_one_around():
    with InterruptWatch():
        InterruptWatch().start()
        InterruptWatch().start()
    # What was there before is what the fixture looks for.
    with pytest.raises(KeyboardInterrupt):
        press()


def test_in_a_thread_it_trains_without_a_watch():
    nets = []
    thread = threading.Thread(target=lambda: nets.append(fit(stop)), daemon=True)
    thread.start()
    thread.join(timeout=60)
    assert len(nets[0].history) == 2
