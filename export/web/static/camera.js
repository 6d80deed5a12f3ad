// One photo from the camera.

import { BadPhoto } from "./decode.js";

/**
 * Shows the camera's picture in a dialog until the visitor takes a photo or cancels.
 * @param {HTMLDialogElement} dialog
 * @returns {Promise<Blob | null>} a JPEG, or null
 * @throws {BadPhoto} there is no camera, or it may not be used
 */
export async function openCamera(dialog) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    throw new BadPhoto("There is no camera that this page may use. Choose a photo instead.");
  }
  const video = dialog.querySelector("video");
  video.srcObject = stream;
  dialog.showModal();
  try {
    return (await pressed(dialog)) ? await frame(video) : null;
  } finally {
    stream.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    dialog.close();
  }
}

function pressed(dialog) {
  return new Promise((resolve) => {
    dialog.querySelector("#shutter").onclick = () => resolve(true);
    dialog.querySelector("#close-camera").onclick = () => resolve(false);
    dialog.oncancel = () => resolve(false); // the Escape key
  });
}

async function frame(video) {
  if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) {
    await new Promise((resolve) => video.addEventListener("loadeddata", resolve, { once: true }));
  }
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
}
