"""Drawing with a diffusion model, in plain NumPy and 64 bits: the schedule, DDPM and DDIM, classifier-free guidance."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def cosine_shares(timesteps: int) -> np.ndarray:
    """Returns the share of the image in the variance at each timestep (Nichol and Dhariwal 2021)."""
    curve = lambda place: math.cos((place + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = [min(1 - curve((t + 1) / timesteps) / curve(t / timesteps), 0.999) for t in range(timesteps)]
    return np.cumprod(1 - np.array(betas))


def chosen_timesteps(timesteps: int, steps: int) -> list[int]:
    """Returns the timesteps that are gone through: evenly spread from the noisiest to the least noisy."""
    if steps == 1:
        return [timesteps - 1]
    return [math.floor((timesteps - 1) * (steps - 1 - step) / (steps - 1) + 0.5) for step in range(steps)]


def noise_and_image(
    predicted: np.ndarray, images: np.ndarray, share: float, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the noise and the image that a prediction means."""
    signal, noise = math.sqrt(share), math.sqrt(1 - share)
    if kind == "epsilon":
        return predicted, (images - noise * predicted) / signal
    if kind == "sample":
        return (images - signal * predicted) / noise, predicted
    return signal * predicted + noise * images, signal * images - noise * predicted


def draw(
    predict: Callable[[np.ndarray, int], np.ndarray],
    first: np.ndarray,
    noises: list[np.ndarray],
    shares: np.ndarray,
    steps: int,
    *,
    kind: str = "epsilon",
    sampler: str = "ddim",
    eta: float = 0.0,
) -> np.ndarray:
    """Draws images from `first`, with `noises` for the steps that add noise."""
    images = first.astype(np.float64)
    timesteps = chosen_timesteps(len(shares), steps)
    for step, timestep in enumerate(timesteps):
        share = shares[timestep]
        before = shares[timesteps[step + 1]] if step + 1 < steps else 1.0
        _, clean = noise_and_image(predict(images, timestep), images, share, kind)
        clean = np.clip(clean, -1, 1)
        variance = (1 - before) / (1 - share) * (1 - share / before)
        if sampler == "ddpm":
            # The mean and the variance of what lies between the image and what is seen (Ho et al. 2020, equation 7).
            mean = math.sqrt(before) * (1 - share / before) / (1 - share) * clean
            mean += math.sqrt(share / before) * (1 - before) / (1 - share) * images
            deviation = math.sqrt(variance)
        else:
            # Song et al. 2020, equation 12.
            noise = (images - math.sqrt(share) * clean) / math.sqrt(1 - share)
            deviation = eta * math.sqrt(variance)
            mean = math.sqrt(before) * clean + math.sqrt(max(1 - before - deviation**2, 0)) * noise
        images = mean + (deviation * noises[step] if step + 1 < steps and deviation > 0 else 0)
    return images
